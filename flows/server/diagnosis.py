"""Why a Prefect server cannot be used, and the remedy."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from tasks.errors import ServerError

ADDRESS = "PREFECT_API_URL"
SECRET = "PREFECT_API_AUTH_STRING"  # noqa: S105 the name of a setting
REACH = f"start it, correct {ADDRESS}, or unset that to use a temporary one"
NO_API = f"{ADDRESS} mostly ends in /api, such as http://127.0.0.1:4200/api"
AUTHENTICATE = f"set {SECRET} to the user:password of its PREFECT_SERVER_API_AUTH_STRING"
LOOK = "its database may be away; see what it logs, and try again"

# What OpenSSL says, and what that means: (part of it, problem, remedy).
TLS_FAULTS = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "has a certificate that is not trusted",
        "have PREFECT_API_SSL_CERT_FILE name its certificate authority's, a PEM file",
    ),
    ("SSL", "does not speak HTTPS as this client does", f"or else write http:// in {ADDRESS}"),
)


def explain(url: str, fault: Exception) -> ServerError:
    """Return why the server at `url` cannot be used and what to do; no password is in it.

    Args:
        url: PREFECT_API_URL.
        fault: what asking the server for its version, or whether it is ready, ended in.
    """
    problem, remedy = _diagnose(fault)
    return ServerError(f"Prefect's server at {without_password(url)} {problem}", remedy)


def without_password(url: str) -> str:
    """Return a URL without the user and the password that it may contain."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def describe(fault: Exception) -> str:
    """Return what went wrong in a few words: a status such as 404 Not Found, or the error's own."""
    if isinstance(fault, httpx.HTTPStatusError):
        return f"{fault.response.status_code} {fault.response.reason_phrase}".strip()
    return str(fault) or type(fault).__name__


def _diagnose(fault: Exception) -> tuple[str, str]:
    what = describe(fault)
    if isinstance(fault, httpx.HTTPStatusError):
        return _diagnose_status(fault.response.status_code, what)
    if isinstance(fault, httpx.UnsupportedProtocol):
        return f"cannot be asked ({what})", f"write http:// or https:// in {ADDRESS}"
    if isinstance(fault, httpx.TransportError):
        return _diagnose_transport(fault, what)
    return f"is no Prefect API ({what})", NO_API


def _diagnose_status(status: int, what: str) -> tuple[str, str]:
    if status in (401, 403):
        return f"does not let this client in ({what})", AUTHENTICATE
    if status >= 500:
        return f"cannot work ({what})", LOOK
    return f"is no Prefect API ({what})", NO_API


def _diagnose_transport(fault: httpx.TransportError, what: str) -> tuple[str, str]:
    for part, problem, remedy in TLS_FAULTS:
        if part in what:
            return f"{problem} ({what})", remedy
    if isinstance(fault, httpx.ReadError | httpx.RemoteProtocolError):
        return f"hung up ({what})", f"if it speaks HTTPS, write https:// in {ADDRESS}"
    return f"cannot be reached ({what})", REACH


def is_compatible(theirs: object, ours: str) -> bool:
    """Return whether a server's version goes with ours: Prefect requires the same major version."""
    return str(theirs).split(".")[0] == ours.split(".")[0]


def explain_version(url: str, theirs: object, ours: str) -> ServerError:
    """Return the error of a server whose version does not go with ours."""
    problem = f"says that it is version {str(theirs)[:40]}, which does not go with {ours}"
    remedy = f"have it be {ours} too, or unset {ADDRESS} to use a temporary one"
    return ServerError(f"Prefect's server at {without_password(url)} {problem}", remedy)
