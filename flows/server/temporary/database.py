"""Whether Prefect's database is that of the installed Prefect, and needs no migration.

Prefect's server looks for migrations at each start: it imports Alembic and all migrations that
there ever were, for 0.18 s of CPU. Where the answer here is not certain, it does so.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

SQLITE = "sqlite+aiosqlite:///"
MIGRATIONS = "server/database/_migrations/versions/sqlite"
_REVISION = re.compile(r'^(revision|down_revision)\b[^=\n]*= *["\'](\w+)["\']', re.MULTILINE)


def is_migrated(url: str) -> bool:
    """Return whether a database has the last migration; False if it is no file of SQLite."""
    last = find_last_migration()
    if last is None or not url.startswith(SQLITE):
        return False
    address = f"file:{quote(url.removeprefix(SQLITE))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return rows == [(last,)]


def find_last_migration() -> str | None:
    """Return the id of the last migration that Prefect has; None if there is not exactly one."""
    import prefect

    found: dict[str, set[str]] = {"revision": set(), "down_revision": set()}
    for file in (Path(prefect.__file__).parent / MIGRATIONS).glob("*.py"):
        for name, value in _REVISION.findall(file.read_text(encoding="utf-8")):
            found[name].add(value)
    last = found["revision"] - found["down_revision"]
    return last.pop() if len(last) == 1 else None
