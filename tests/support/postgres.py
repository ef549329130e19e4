"""A real PostgreSQL for tests: Debian's binaries, a temporary cluster, a Unix socket."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEBIAN = "usr/lib/postgresql/*/bin/initdb"


def find_binaries() -> Path | None:
    """Return the folder of initdb and pg_ctl, on the PATH or Debian's; None without one."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = sorted(Path("/").glob(DEBIAN), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


@dataclass(frozen=True)
class Postgres:
    """A cluster in `folder`, which listens only on a socket there."""

    binaries: Path
    folder: Path

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database, for PREFECT_SERVER_DATABASE_CONNECTION_URL."""
        return f"postgresql+asyncpg://postgres@/postgres?host={self.folder}"

    def create(self) -> None:
        """Create the cluster; everyone who can access the folder is trusted."""
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8")

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        options = f"-c fsync=off -c listen_addresses= -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """Stop the server immediately, without a checkpoint, as a power cut does."""
        self._run("pg_ctl", "stop", "--mode=immediate", "--silent")

    def query(self, sql: str) -> list[str]:
        """Return the rows of a query's result, with | between columns."""
        psql = ("psql", f"--host={self.folder}", "--username=postgres", "--tuples-only")
        return self._run(*psql, "--no-align", f"--command={sql}").splitlines()

    def _run(self, program: str, *options: str) -> str:
        command = [str(self.binaries / program), *options]
        environment = {**os.environ, "PGDATA": str(self.folder / "data")}
        done = subprocess.run(
            command,
            env=environment,
            cwd="/",
            check=False,
            capture_output=True,
            text=True,
            **_user(),
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
        return done.stdout


def _user() -> dict[str, Any]:
    """Return arguments of `subprocess` to run as another user, because initdb refuses root."""
    if os.geteuid() != 0:
        return {}
    user = _somebody_else()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _somebody_else() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


@contextmanager
def postgres(binaries: Path) -> Iterator[Postgres]:
    """Run an empty PostgreSQL server during the block."""
    # Not in pytest's tmp_path, which only its owner can access: the server may run as another user.
    with tempfile.TemporaryDirectory(prefix="wenti-postgres-") as folder:
        if os.geteuid() == 0:
            os.chown(folder, _somebody_else().pw_uid, -1)
        cluster = Postgres(binaries, Path(folder))
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
