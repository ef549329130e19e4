"""Why a Prefect server cannot be used, and the remedy."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from tasks.errors import ServerError

ADDRESS = "PREFECT_API_URL"
SECRET = "PREFECT_API_AUTH_STRING"  # noqa: S105 the name of a setting
REACH = f"start it, correct {ADDRESS}, or unset that to use a temporary one"
NO_API = f"{ADDRESS} usually ends in /api, such as http://127.0.0.1:4200/api"
AUTHENTICATE = f"set {SECRET} to the user:password of its PREFECT_SERVER_API_AUTH_STRING"
LOOK = "its database may be unreachable; read its log, and try again"

# (part of OpenSSL's message, problem, remedy)
TLS_FAULTS = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "has a certificate that is not trusted",
        "set PREFECT_API_SSL_CERT_FILE to a PEM file with the certificate of its authority",
    ),
    (
        "SSL",
        "does not speak HTTPS as this client does",
        f"correct its TLS settings, or write http:// in {ADDRESS}",
    ),
)


def explain(url: str, fault: Exception) -> ServerError:
    """Return an error that says why the server cannot be used and what to do, without a password.

    Args:
        url: PREFECT_API_URL.
        fault: raised by asking the server for its version, or whether it is ready.
    """
    problem, remedy = _diagnose(fault)
    return ServerError(f"Prefect's server at {without_password(url)} {problem}", remedy)


def without_password(url: str) -> str:
    """Return a URL without its user and password, if it has any."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def describe(fault: Exception) -> str:
    """Return an error in a few words: its HTTP status, such as 404 Not Found, or its text."""
    if isinstance(fault, httpx.HTTPStatusError):
        return f"{fault.response.status_code} {fault.response.reason_phrase}".strip()
    return str(fault) or type(fault).__name__


def _diagnose(fault: Exception) -> tuple[str, str]:
    what = describe(fault)
    if isinstance(fault, httpx.HTTPStatusError):
        return _diagnose_status(fault.response.status_code, what)
    if isinstance(fault, httpx.UnsupportedProtocol):
        return f"cannot be called ({what})", f"write http:// or https:// in {ADDRESS}"
    if isinstance(fault, httpx.TransportError):
        return _diagnose_transport(fault, what)
    return f"is not a Prefect API ({what})", NO_API


def _diagnose_status(status: int, what: str) -> tuple[str, str]:
    if status in (401, 403):
        return f"refuses this client ({what})", AUTHENTICATE
    if status >= 500:
        return f"has a problem ({what})", LOOK
    return f"is not a Prefect API ({what})", NO_API


def _diagnose_transport(fault: httpx.TransportError, what: str) -> tuple[str, str]:
    for part, problem, remedy in TLS_FAULTS:
        if part in what:
            return f"{problem} ({what})", remedy
    if isinstance(fault, httpx.ReadError | httpx.RemoteProtocolError):
        return f"closed the connection ({what})", f"if it speaks HTTPS, write https:// in {ADDRESS}"
    return f"cannot be reached ({what})", REACH


def is_compatible(theirs: object, ours: str) -> bool:
    """Return whether a server is compatible: Prefect requires the same major version."""
    return str(theirs).split(".")[0] == ours.split(".")[0]


def explain_version(url: str, theirs: object, ours: str) -> ServerError:
    """Return an error that says that the server's version is not compatible with ours."""
    problem = f"has version {str(theirs)[:40]}, which is not compatible with {ours}"
    remedy = f"install {ours} there too, or unset {ADDRESS} to use a temporary one"
    return ServerError(f"Prefect's server at {without_password(url)} {problem}", remedy)


def explain_settings(fault: ValueError) -> ServerError:
    """Return an error that names the settings of Prefect which have unusable values."""
    problems = [str(fault)]
    if isinstance(fault, ValidationError):
        problems = [
            f"{_variable(details['input']) or details['loc'][-1]}: {details['msg'].lower()}"
            for details in fault.errors(include_url=False)
            if details["type"] != "default_factory_not_called"  # follows from another fault
        ]
    remedy = "correct the variable, or the value in PREFECT_HOME/profiles.toml"
    return ServerError(f"Prefect's settings cannot be used ({'; '.join(problems)})", remedy)


def _variable(value: object) -> str | None:
    """Return the name and value of Prefect's environment variable with a value, if there is one."""
    for name, text in os.environ.items():  # Prefect reads some in upper case
        if name.startswith("PREFECT_") and text.casefold() == str(value).casefold():
            return f"{name}={text}"
    return None
