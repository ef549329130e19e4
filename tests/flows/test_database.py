"""Whether Prefect's database needs a migration, against what Alembic says and Prefect makes."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import prefect
import pytest
from alembic.script import ScriptDirectory

from flows.server.temporary import database
from flows.server.temporary.server import TemporaryServer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that a server has made."""
    home = tmp_path_factory.mktemp("home")
    server = TemporaryServer({"PREFECT_HOME": str(home)})
    server.port(600.0)
    server.stop()
    return home / "prefect.db"


def test_the_last_migration_is_that_of_alembic() -> None:
    versions = Path(prefect.__file__).parent / database.MIGRATIONS
    script = ScriptDirectory(str(versions.parents[1]), version_locations=[str(versions)])
    assert script.get_heads() == [database.find_last_migration()]


def test_a_database_that_a_server_has_made_is_migrated(made: Path) -> None:
    assert database.is_migrated(f"{database.SQLITE}{made}")


def test_an_older_database_is_not_migrated(made: Path, tmp_path: Path) -> None:
    older = shutil.copy(made, tmp_path)
    with closing(sqlite3.connect(older)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'older'")
    assert not database.is_migrated(f"{database.SQLITE}{older}")


@pytest.mark.parametrize("content", [None, b"", b"no database"])
def test_what_is_no_database_is_not_migrated(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "prefect.db"
    if content is not None:
        file.write_bytes(content)
    assert not database.is_migrated(f"{database.SQLITE}{file}")
    assert not database.is_migrated("postgresql+asyncpg://u:p@127.0.0.1:9/db")
    assert file.exists() == (content is not None)


def test_a_prefect_without_these_files_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MIGRATIONS", "elsewhere")
    assert database.find_last_migration() is None
    assert not database.is_migrated(f"{database.SQLITE}/nowhere")
