"""Requests to an application without a server: what a browser or an attacker sends, byte by byte."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

PORT = 8642
HOST = f"127.0.0.1:{PORT}"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(app, path, *, method="GET", body=b"", headers=None, pieces=1) -> Answer:
    """Send one request; `headers` replace the usual ones, None takes one away; the body comes in pieces."""
    usual = {"host": HOST, "content-length": str(len(body))}
    if method == "POST":
        usual |= {"content-type": "application/json", "origin": f"http://{HOST}"}
    given = {name: value for name, value in {**usual, **(headers or {})}.items() if value is not None}
    listed = [
        (name.encode(), each.encode("latin-1"))
        for name, value in given.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    plain, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": plain, "raw_path": plain.encode("utf-8", "replace"), "query_string": query.encode(), "root_path": "",
        "headers": listed, "client": ("127.0.0.1", 5), "server": ("127.0.0.1", PORT),
    }  # fmt: skip
    step = max(1, -(-len(body) // pieces))
    parts = [body[start : start + step] for start in range(0, len(body), step)] or [b""]
    incoming = [
        {"type": "http.request", "body": part, "more_body": place < len(parts) - 1}
        for place, part in enumerate(parts)
    ]
    sent: list[Any] = []

    async def receive():
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def sending(message):
        sent.append(message)

    asyncio.run(app(scope, receive, sending))
    start = next(each for each in sent if each["type"] == "http.response.start")
    whole = b"".join(each.get("body", b"") for each in sent if each["type"] == "http.response.body")
    found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, whole)


def post(explorer, path, given=None, **more) -> Answer:
    """A request of the page itself."""
    return send(
        explorer.app,
        f"/{explorer.token}/api/{path}",
        method="POST",
        body=json.dumps(given or {}).encode(),
        **more,
    )


def get(explorer, path, **more) -> Answer:
    return send(explorer.app, f"/{explorer.token}/{path}", **more)
