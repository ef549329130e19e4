"""The Prefect servers that Wenti starts: Prefect's app, closed to the pages of other websites.

A browser sends the requests of any open page to this machine. CORS only hides the answers from the
page: a request without preflight, such as one with an untyped body, is carried out, and WebSockets
are not subject to CORS at all. So requests from pages of other origins are refused here, and also
requests for host names that are not ours: a website may let its own name point to this machine.

`python -m flows.server.protection` serves it at the address of Prefect's settings, and
`temporary` on a free port.
"""

from __future__ import annotations

import gc
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from flows.server.access import own_access
from tasks.environment import importing

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prefect.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ANY = "*"
NOT_OURS = (
    "this address is not one of the server's; its PREFECT_SERVER_CORS_ALLOWED_ORIGINS may name more"
)
OTHER_PAGE = "the page is not one of the server's; see its PREFECT_SERVER_CORS_ALLOWED_ORIGINS"


@dataclass(frozen=True)
class OwnPages:
    """Which requests a server answers.

    Attributes:
        origins: of the pages that may use it, such as `http://127.0.0.1:4200`; `*` for all.
        hosts: the names by which it is reached, in lower case; IP addresses need not be listed.
    """

    origins: frozenset[str]
    hosts: frozenset[str]

    def refuse(self, host: str, origin: str | None) -> str | None:
        """Return why a request with these headers is refused; None if it is not."""
        if not self._is_ours(host):
            return NOT_OURS
        if origin is None or ANY in self.origins or origin in self.origins:
            return None
        is_same = origin.partition("://")[2].lower() == host.lower()
        return None if is_same else OTHER_PAGE

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self.hosts or _is_address(name)


def _is_address(name: str) -> bool:
    """Return whether a host is an IP address, which nobody else can point to this machine."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def own_pages(settings: Settings) -> OwnPages:
    """Return the pages of Prefect's UI on this server, and those that the user allows."""
    server = settings.server
    origins = {f"http://{name}:{server.api.port}" for name in LOOPBACK}
    origins.add(_origin_of(own_access(settings).url))
    if server.ui.api_url:
        origins.add(_origin_of(server.ui.api_url))
    if "cors_allowed_origins" in server.api.model_fields_set:  # else it is `*`
        origins |= {origin.strip() for origin in server.api.cors_allowed_origins.split(",")} - {""}
    named = {urlsplit(origin).hostname or "" for origin in origins}
    hosts = {*named, "localhost", server.api.host.lower(), socket.gethostname().lower()}
    return OwnPages(frozenset(origins), frozenset(hosts - {""}))


def _origin_of(url: str) -> str:
    return urlsplit(url)._replace(path="", query="", fragment="").geturl()


class OwnPagesOnly:
    """ASGI middleware that answers 403 to requests which `pages` refuses."""

    def __init__(self, app: ASGIApp, pages: OwnPages) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refused = None
        if scope["type"] in {"http", "websocket"}:
            headers = Headers(scope=scope)
            refused = self._pages.refuse(headers.get("host", ""), headers.get("origin"))
        if refused is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(reason=refused)(scope, receive, send)
        else:
            await PlainTextResponse(f"{refused}\n", status_code=403)(scope, receive, send)


def create_app() -> FastAPI:
    """Return Prefect's app as the settings have it, for our own pages only."""
    from prefect.server.api.server import create_app
    from prefect.settings import (
        PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
        get_current_settings,
        temporary_settings,
    )

    gc.freeze()  # Prefect searches for garbage at the end: not in all modules, for 0.26 s of CPU
    pages = own_pages(get_current_settings())
    with temporary_settings({PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(sorted(pages.origins))}):
        app = create_app(final=True)
    app.add_middleware(OwnPagesOnly, pages=pages)
    return app


def serve() -> None:
    """Serve until SIGTERM or SIGINT."""
    with importing():
        import uvicorn
        from prefect.settings import get_current_settings

    server = get_current_settings().server
    with importing():
        app = create_app()
    uvicorn.run(
        app,
        host=server.api.host,
        port=server.api.port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


if __name__ == "__main__":
    serve()
