"""The local server: routes that answer in JSON, the page's files, and the start at a free port."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache, cached_property, partial
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aitia.engine import note
from aitia.errors import AitiaError, is_out_of_memory, reason_of
from aitia.explorer.opened import open_places
from aitia.explorer.rows.texts import whole_text
from aitia.explorer.security import DOCUMENT_POLICY, Guard, Refusal
from aitia.explorer.session import Session
from aitia.explorer.settings import LOOPBACK, ExplorerSettings

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_TRIED_PORTS = 50
Answer = Callable[..., Mapping[str, Any]]


class Explorer:
    """An explorer that is ready to be served.

    Attributes:
        session: what it answers from.
        token: the first part of every address.
        ports: at which it is reached; empty before it is served.
    """

    def __init__(self, session: Session, *, token: str | None = None):
        self.session = session
        self.token = token or secrets.token_urlsafe(24)
        self.ports: set[int] = set()

    @cached_property
    def app(self) -> Guard:
        """The application, behind its guard."""
        limit = self.session.settings.request_kilobytes * 1000
        inner = Starlette(routes=self._routes())
        return Guard(
            inner, token=self.token, documents=self.session.opened.pages, ports=self.ports, bytes_limit=limit
        )

    def address(self, port: int) -> str:
        """The address to open."""
        return f"http://{LOOPBACK}:{port}/{self.token}/"

    def _routes(self) -> list[Route]:
        session = self.session
        asked: dict[str, tuple[str, Answer]] = {
            "/api/opened": ("GET", lambda _: session.overview()),
            "/api/figures/{name}": ("GET", lambda given: session.figures(given["name"])),
            "/api/runs": ("GET", lambda _: session.runs.seen()),
            "/api/runs/start": ("POST", lambda given: session.runs.start(given.get("configuration"))),
            "/api/runs/stop": ("POST", lambda _: session.runs.stop()),
            "/api/rows/{number:int}/columns": ("GET", lambda given: session.columns(given["number"])),
            "/api/rows/{number:int}/page": ("POST", lambda given: session.page(given["number"], given)),
            "/api/rows/{number:int}/row": (
                "POST",
                lambda given: session.row(given["number"], _position(given)),
            ),
            "/api/rows/{number:int}/shares": (
                "POST",
                lambda given: session.shares(given["number"], _position(given), given.get("score")),
            ),
            "/api/rows/{number:int}/neighbours": (
                "POST",
                lambda given: session.neighbours(
                    given["number"],
                    _position(given),
                    str(given.get("site") or ""),
                    str(given.get("activation") or ""),
                ),
            ),
            "/api/rows/{number:int}/ask": (
                "POST",
                lambda given: session.ask(given["number"], _object(given, "question")),
            ),
            "/api/rows/{number:int}/model": ("POST", lambda given: session.load_model(given["number"])),
            "/api/rows/{number:int}/controls": (
                "POST",
                lambda given: session.controls(given["number"], given.get("score")),
            ),
            "/api/rows/{number:int}/label": (
                "POST",
                lambda given: session.label(given["number"], given.get("score"), str(given.get("label"))),
            ),
            "/api/rows/{number:int}/compare": (
                "POST",
                lambda given: session.compare(
                    given["number"], given.get("first"), given.get("second"), given.get("query")
                ),
            ),
            "/api/rows/{number:int}/removal": ("POST", lambda given: session.removal(given["number"], given)),
            "/api/rows/{number:int}/export": ("POST", lambda given: session.export(given["number"], given)),
            "/api/rows/{number:int}/picks": (
                "POST",
                lambda given: session.save_picks(given["number"], given.get("positions")),
            ),
            "/api/rows/{number:int}/positions": (
                "POST",
                lambda given: session.positions(given["number"], given.get("ids")),
            ),
            "/api/rows/{number:int}/concept": (
                "POST",
                lambda given: session.save_concept(given["number"], given.get("score"), given.get("name")),
            ),
        }
        routes = [
            Route(path, partial(self._answered, answer), methods=[method])
            for path, (method, answer) in asked.items()
        ]
        routes += [
            Route("/", _index),
            Route("/page/{name}", _page_file),
            Route("/plotly.js", _plotly),
            Route("/document/{key}", self._document),
        ]
        return routes

    async def _answered(self, answer: Answer, request: Request) -> Response:
        """Answer in another thread, within the time that a request may take."""
        seconds = self.session.settings.request_seconds
        try:
            given = {**(await asyncio.wait_for(_body(request), seconds)), **request.path_params}
            found = await asyncio.wait_for(asyncio.to_thread(answer, given), seconds)
            return _json(found)
        except TimeoutError:
            return _json(
                {
                    "error": f"no answer within {seconds:g} s; allow more with `aitia explore --request-seconds`"
                },
                503,
            )
        except Refusal as refusal:
            return _json({"error": refusal.reason}, refusal.status)
        except AitiaError as error:
            return _json({"error": str(error)}, 400)
        except Exception as error:
            if is_out_of_memory(error):
                return _json({"error": "memory did not suffice for this; ask for less"}, 507)
            print(f"aitia explore: {type(error).__name__}: {reason_of(error)}", file=sys.stderr)  # noqa: T201
            return _json({"error": f"a fault of aitia ({type(error).__name__}); the terminal says more"}, 500)

    async def _document(self, request: Request) -> Response:
        path = self.session.opened.pages.get(unquote(request.path_params["key"]))
        if path is None or not path.is_file():
            return _json({"error": "this page is not there any more"}, 404)
        content = await asyncio.to_thread(path.read_bytes)
        return Response(content, media_type="text/html", headers={"content-security-policy": DOCUMENT_POLICY})


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(whole_text(text), status, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    if request.method != "POST":
        return {}
    try:
        found = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError):
        raise AitiaError("the request is no JSON") from None
    if not isinstance(found, dict):
        raise AitiaError("the request must be an object")
    return found


def _position(given: Mapping[str, Any]) -> int:
    position = given.get("position")
    if type(position) is not int or position < 0:
        raise AitiaError("`position` must be the number of a row, from 0")
    return position


def _object(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name)
    if not isinstance(found, Mapping):
        raise AitiaError(f"`{name}` must be an object")
    return found


@cache
def page_files() -> dict[str, bytes]:
    """The files of the page, by name: no other file is ever served."""
    folder = resources.files("aitia.explorer") / "page"
    return {each.name: each.read_bytes() for each in folder.iterdir() if Path(each.name).suffix in _TYPES}


def _index(_request: Request) -> Response:
    return Response(page_files()["index.html"], media_type="text/html")


def _page_file(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in page_files():
        return _json({"error": "no such page"}, 404)
    return Response(page_files()[name], media_type=_TYPES[Path(name).suffix])


def _plotly(_request: Request) -> Response:
    from plotly.offline import get_plotlyjs

    return Response(get_plotlyjs(), media_type="text/javascript")


def free_socket(port: int) -> socket.socket:
    """A socket of this machine that listens at a port, or at the next one that is free.

    Args:
        port: that is wanted; 0 for any.

    Returns:
        The socket, bound to the loopback address alone.

    Raises:
        AitiaError: no port is free.
    """
    for tried in [port] if port == 0 else [*range(port, min(port + _TRIED_PORTS, 65536)), 0]:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            found.bind((LOOPBACK, tried))
            found.listen(64)
            return found
        except OSError:
            found.close()
    raise AitiaError(
        f"no port of {LOOPBACK} is free at or after {port}; close another program, or give `aitia explore --port 0`"
    )


def explore(
    places: Sequence[Path | str],
    settings: ExplorerSettings | None = None,
    *,
    model: str | None = None,
    adapter: str | None = None,
    data: Path | str | None = None,
    browser: bool = True,
    said: Callable[[str], None] = note,
) -> None:
    """Serve a page over stores, rankings and run folders until it is stopped.

    Args:
        places: what to open.
        settings: of the explorer.
        model: the model that was scanned, if it was moved.
        adapter: the same, of its adapter.
        data: the same, of the data.
        browser: open the page in the browser.
        said: is given the address, once it can be opened.

    Raises:
        AitiaError: nothing can be opened, or no port is free.
    """
    import uvicorn

    chosen = settings or ExplorerSettings()
    explorer = Explorer(Session(open_places(places, model=model, adapter=adapter, data=data), chosen))
    with closing(free_socket(chosen.port)) as listening:
        port = listening.getsockname()[1]
        explorer.ports.add(port)
        if chosen.port not in (0, port):
            note(f"Port {chosen.port} is in use; the explorer takes {port}")
        for each in explorer.session.opened.notices:
            note(each)
        said(explorer.address(port))
        if browser:
            webbrowser.open(explorer.address(port))
        served = uvicorn.Config(
            explorer.app,
            log_level="error",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=30,
            limit_concurrency=200,
            h11_max_incomplete_event_size=65536,
        )
        uvicorn.Server(served).run(sockets=[listening])
