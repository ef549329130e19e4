"""How this user's programs reach the server of `wenti serve`: its address and its secret.

Both are in a file in PREFECT_HOME that only its owner can read. It has the form of environment
variables, which shells and service managers can load.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from flows.server.diagnosis import ADDRESS, SECRET
from flows.server.settings import changed
from tasks.errors import ServerError

if TYPE_CHECKING:
    from prefect.settings import Settings

FILE_NAME = "wenti-server.env"
USER = "wenti"


@dataclass(frozen=True)
class Access:
    """A server and what it asks for.

    Attributes:
        url: its PREFECT_API_URL.
        secret: its `user:password`; None: what Prefect's settings say.
    """

    url: str
    secret: str | None = field(default=None, repr=False)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let Prefect's clients use this server in the block, in this thread and its children."""
        secret = {} if self.secret is None else {"auth_string": SecretStr(self.secret)}
        with changed("api", url=self.url, **secret):
            yield


def new_secret() -> str:
    """Return a random `user:password`, without characters that are special in a shell."""
    return f"{USER}:{secrets.token_urlsafe(24)}"


def access_file(settings: Settings) -> Path:
    """Return the path of the file with the access to the server that `wenti serve` runs."""
    return settings.home / FILE_NAME


def own_access(settings: Settings) -> Access:
    """Return the address at which Prefect's settings place a server, and the secret they name."""
    api = settings.server.api
    host = f"[{api.host}]" if ":" in api.host else api.host
    given = api.auth_string or settings.api.auth_string
    secret = None if given is None else given.get_secret_value()
    return Access(f"http://{host}:{api.port}{api.base_path or '/api'}", secret)


def configured_access(settings: Settings, url: str) -> Access:
    """Return the access to PREFECT_API_URL; to that of `wenti serve`, also without its secret."""
    served = read_access(access_file(settings))
    if served is None or served.url != url or settings.api.auth_string is not None:
        return Access(url)
    return served


def possible_servers(settings: Settings) -> Iterator[Access]:
    """Yield where a server of this user may run: that of `wenti serve`, and a chosen port."""
    served = read_access(access_file(settings))
    if served is not None:
        yield served
    # The default port may have a server of another user, who would see this user's runs.
    if "port" in settings.server.api.model_fields_set:
        yield own_access(settings)


def read_access(file: Path) -> Access | None:
    """Return what a file says; None if there is none, or if another user could have read it."""
    values: dict[str, str] = {}
    with suppress(OSError, UnicodeDecodeError), file.open(encoding="utf-8") as lines:
        status = os.fstat(lines.fileno())
        if status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            values = dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)
    return Access(values[ADDRESS], values.get(SECRET)) if ADDRESS in values else None


def write_access(file: Path, access: Access) -> None:
    """Write the file, readable by its owner only.

    Raises:
        ServerError: it cannot be written.
    """
    secret = "" if access.secret is None else f"{SECRET}={access.secret}\n"
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=file.parent)  # 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as lines:
            lines.write(f"{ADDRESS}={access.url}\n{secret}")
        Path(temporary).replace(file)
    except OSError as error:
        problem = f"Prefect cannot write {file} ({error.strerror})"
        raise ServerError(problem, "correct PREFECT_HOME") from error
