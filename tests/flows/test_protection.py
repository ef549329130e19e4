from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.settings import Settings
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from flows.server.protection import OwnPages, OwnPagesOnly, own_pages

OWN = OwnPages(frozenset({"http://127.0.0.1:4200"}), frozenset({"localhost", "wenti"}))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:4200", None),
        ("localhost:4200", None),
        ("LOCALHOST", None),
        ("[::1]:4200", None),
        ("10.0.0.5:4200", "http://10.0.0.5:4200"),
        ("wenti:4200", "https://wenti:4200"),
        ("127.0.0.1:4200", "http://127.0.0.1:4200"),
        ("localhost:9000", "http://localhost:9000"),  # by way of ssh -L 9000:localhost:4200
        ("localhost:4200", "http://127.0.0.1:4200"),
    ],
)
def test_own_pages_and_programs_are_answered(host: str, origin: str | None) -> None:
    assert OWN.refuse(host, origin) is None


@pytest.mark.parametrize(
    ("host", "origin", "words"),
    [
        ("evil.example:4200", None, "this address"),
        ("evil.example:4200", "http://evil.example:4200", "this address"),
        ("127.0.0.1.evil.example:4200", None, "this address"),
        ("evil.example@127.0.0.1.evil.example", None, "this address"),
        ("", None, "this address"),
        ("[", None, "this address"),
        ("127.0.0.1:4200", "http://127.0.0.1:8080", "the page"),
        ("127.0.0.1:4200", "http://localhost:4200", "the page"),
        ("127.0.0.1:4200", "http://evil.example", "the page"),
        ("127.0.0.1:4200", "null", "the page"),
        ("127.0.0.1:4200", "", "the page"),
    ],
)
def test_other_pages_and_names_are_refused(host: str, origin: str | None, words: str) -> None:
    assert (OWN.refuse(host, origin) or "").startswith(words)


@given(st.text(max_size=30), st.none() | st.text(max_size=30))
def test_no_header_makes_it_fail_or_gets_a_foreign_name_through(
    host: str, origin: str | None
) -> None:
    reason = OWN.refuse(host, origin)
    assert reason is None or reason.isascii()
    assert OWN.refuse("evil.example", origin) is not None


@pytest.mark.parametrize(
    ("server", "origins", "hosts"),
    [
        ({}, {"http://127.0.0.1:4200", "http://localhost:4200"}, {"localhost"}),
        ({"api": {"port": 4311}}, {"http://[::1]:4311"}, {"localhost"}),
        ({"api": {"host": "wenti.lan"}}, {"http://wenti.lan:4200"}, {"wenti.lan"}),
        (
            {"ui": {"api_url": "https://prefect.lan/api"}},
            {"https://prefect.lan", "http://localhost:4200"},
            {"prefect.lan", "localhost"},
        ),
        (
            {"api": {"cors_allowed_origins": "https://a.lan, https://b.lan:1"}},
            {"https://a.lan", "https://b.lan:1", "http://localhost:4200"},
            {"a.lan", "b.lan"},
        ),
        ({"api": {"cors_allowed_origins": "*"}}, {"*"}, {"localhost"}),
        ({"api": {"cors_allowed_origins": ""}}, {"http://localhost:4200"}, {"localhost"}),
    ],
)
def test_the_settings_say_which_pages_are_own(
    server: dict[str, object], origins: set[str], hosts: set[str]
) -> None:
    pages = own_pages(Settings.model_validate({"server": server}))
    assert origins <= pages.origins
    assert hosts <= pages.hosts
    assert "" not in pages.origins
    assert ("*" in pages.origins) == (origins == {"*"})


def test_every_origin_is_allowed_only_where_the_user_says_so() -> None:
    assert OwnPages(frozenset({"*"}), frozenset()).refuse("127.0.0.1", "http://a.lan") is None
    assert OwnPages(frozenset({"*"}), frozenset()).refuse("a.lan", "http://a.lan") is not None


def get(path: str, **headers: str) -> httpx.Response:
    """Ask a protected app that answers with the path."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(Request(scope).url.path)(scope, receive, send)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(OwnPagesOnly(app, OWN))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post(path, headers=headers)

    return asyncio.run(ask())


def test_a_refused_request_does_not_reach_the_app() -> None:
    assert get("/api").text == "/api"
    for answer in (get("/api", origin="http://a.lan"), get("/api", host="a.lan")):
        assert answer.status_code == 403
        assert "PREFECT_SERVER_CORS_ALLOWED_ORIGINS" in answer.text


@pytest.mark.parametrize("origin", ["http://a.lan", "http://localhost"])
def test_a_web_socket_of_another_page_is_closed_before_it_is_accepted(origin: str) -> None:
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"origin", origin.encode())]
    scope: Scope = {"type": "websocket", "headers": headers}
    asyncio.run(OwnPagesOnly(app, OWN)(scope, receive, send))
    (message,) = sent
    assert message["type"] == ("websocket.close" if "a.lan" in origin else "websocket.accept")
