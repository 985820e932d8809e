"""What stands before every request: the token, the host, the origin, and the size of what is sent."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from aitia.explorer.settings import LOOPBACK

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the explorer's page may do: its own scripts, styles and requests, and nothing else."""
DOCUMENT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a page of a run may do: it has an origin of its own, and can ask neither the explorer nor anybody else."""
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""What every answer says to the browser."""


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of HTTP.
        reason: in words, for the person at the browser.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Guard:
    """Lets through requests of this machine's own page only.

    A request must name this machine as its host, come from the page itself where a browser says where it comes from,
    and have the token as the first part of its path. Tokens are compared in constant time. A page of a run has a key of
    its own, which opens that page and nothing else.
    """

    def __init__(
        self, app: App, *, token: str, documents: Collection[str], ports: Collection[int], bytes_limit: int
    ):
        """Stand before an application.

        Args:
            app: the application, which sees paths without the token.
            token: that is needed.
            documents: keys of single pages, which the application serves at `/document/KEY`.
            ports: at which the explorer is reached; empty for any.
            bytes_limit: largest body of a request.
        """
        self._app, self._token, self._documents = app, token, documents
        self._ports, self._bytes_limit = ports, bytes_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _with_headers(message.get("headers", []))
            await send(message)

        try:
            if scope["type"] != "http":
                raise Refusal(403, "only HTTP is spoken here")
            path = self._allowed(scope)
            await self._app(
                {**scope, "path": path, "raw_path": path.encode(), "root_path": ""},
                self._bounded(scope, receive),
                sending,
            )
        except Refusal as refusal:
            if not started:
                await _refuse(refusal, sending)

    def _allowed(self, scope: Scope) -> str:
        """The path without the token."""
        headers = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        host = self._only(headers, "host")
        names = {f"{name}:{port}" for name in (LOOPBACK, "localhost") for port in self._ports}
        if host is None or (self._ports and host not in names):
            raise Refusal(
                421, "this host is not the explorer's; open the address that `aitia explore` printed"
            )
        origin = self._only(headers, "origin")
        if origin is not None and origin != f"http://{host}":
            raise Refusal(403, "requests of other sites are refused")
        if dict(headers).get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refusal(403, "requests of other sites are refused")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refusal(405, "this method is not answered")
        if (
            scope["method"] == "POST"
            and dict(headers).get("content-type", "").split(";")[0].strip() != "application/json"
        ):
            raise Refusal(415, "send JSON, with the content type application/json")
        return self._path(scope["path"])

    def _only(self, headers: list[tuple[str, str]], name: str) -> str | None:
        found = [value for each, value in headers if each == name]
        if len(found) > 1:
            raise Refusal(400, f"two headers {name}")
        return found[0] if found else None

    def _path(self, path: str) -> str:
        _, first, *rest = [*path.split("/", 2), ""]
        given = first.encode("utf-8", "replace")
        if hmac.compare_digest(given, self._token.encode()):
            if ".." in rest[0].split("/") or "\\" in rest[0] or "\0" in rest[0]:
                raise Refusal(404, "no such page")
            return f"/{rest[0]}"
        matches = [key for key in self._documents if hmac.compare_digest(given, key.encode())]
        if matches and not rest[0]:
            return f"/document/{matches[0]}"
        raise Refusal(
            403,
            "this address lacks the token, or has that of an earlier start; open the one that `aitia explore` printed",
        )

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """What is received, refused when it grows too large."""
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > self._bytes_limit:
            raise self._too_large()
        seen = 0

        async def receiving() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._bytes_limit:
                raise self._too_large()
            return message

        return receiving

    def _too_large(self) -> Refusal:
        return Refusal(
            413,
            f"the request is larger than {self._bytes_limit:,} bytes; give `aitia explore --request-kilobytes`",
        )


def _with_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    """The headers of an answer with those of safety, which none that is there already takes away."""
    own = {name.lower() for name, _ in headers}
    more = HEADERS if b"content-security-policy" in own else HEADERS | {"content-security-policy": POLICY}
    return [
        *headers,
        *((name.encode(), value.encode()) for name, value in more.items() if name.encode() not in own),
    ]


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = json.dumps({"error": refusal.reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
