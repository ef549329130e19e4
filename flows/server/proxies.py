"""Proxies in the environment: none is between Wenti and a Prefect server on this machine.

The HTTP client of Wenti and Prefect reads the variables of every proxy as soon as it is made. One
that it cannot use, such as `ALL_PROXY=socks5://…` without the package socksio, makes it fail
whichever server it is made for.
"""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from tasks.environment import ASIDE, set_aside
from tasks.errors import ServerError

HERE = ("localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 names of this machine
VARIABLES = {"http_proxy", "https_proxy", "all_proxy"}


def prepare_proxies() -> None:
    """Exempt this machine from proxies, and set aside those that the client cannot use.

    Child processes other than servers and runs get the latter back: PaddleNLP may download by them.
    """
    _bypass(*HERE)
    for name in [name for name in os.environ if name.lower() in VARIABLES]:
        if os.environ[name] and not _is_usable(os.environ[name]):
            set_aside(name)


def require_proxy(url: str) -> None:
    """Require that a server is on this machine, or that the client can use its proxy, if any.

    Raises:
        ServerError: the client cannot use it; names its variable.
    """
    scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
    if _is_here(host):
        _bypass(host)
    if proxy_bypass(host):
        return
    for name in (f"{scheme}_proxy", "all_proxy"):
        if name.removesuffix("_proxy") in getproxies():
            return
        for variable in (name, name.upper()):
            if f"{ASIDE}{variable}" in os.environ:
                raise _unusable(variable, host)


def _bypass(*hosts: str) -> None:
    """Add hosts to NO_PROXY."""
    listed = [host.strip() for host in getproxies().get("no", "").split(",")]
    kept = [host for host in listed if host and _is_readable(host)]
    if "*" in kept:
        return
    text = ",".join([*kept, *(host for host in hosts if host not in kept)])
    os.environ.update(dict.fromkeys(("NO_PROXY", "no_proxy"), text))


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == socket.gethostname()


def _is_readable(host: str) -> bool:
    """Return whether the client can read an entry of NO_PROXY; IPv6 networks make it fail."""
    try:
        ip_address(host)
    except ValueError:
        try:
            httpx.URL(host if "://" in host else f"all://*{host}")
        except httpx.InvalidURL:
            return False
    return True


def _is_usable(proxy: str) -> bool:
    """Return whether the client can be made with a proxy; it may still not answer."""
    try:
        httpx.HTTPTransport(proxy=proxy if "://" in proxy else f"http://{proxy}", verify=False)
    except (ImportError, ValueError, httpx.InvalidURL):
        return False
    return True


def _unusable(variable: str, host: str) -> ServerError:
    return ServerError(
        f"{variable} names a proxy that cannot be used for Prefect's server at {host}",
        f"give an http:// proxy, add {host} to NO_PROXY, or, for SOCKS, pip install socksio",
    )
