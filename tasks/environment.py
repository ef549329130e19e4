"""What the user's environment gives to Wenti's processes: a home, a temporary folder, proxies."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path

from tasks.errors import StorageError

ASIDE = "WENTI_ASIDE_"
"""Prefix of the variables that Wenti's own processes do without and their children get back."""

HOME, TEMPORARY = "HOME", "TMPDIR"


@contextmanager
def importing() -> Iterator[None]:
    """Import many modules in the block without a search for garbage, which they do not leave.

    That takes a quarter less CPU. What was imported is not searched later either.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


class _Without(MetaPathFinder):
    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def find_spec(self, name: str, *_where: object) -> None:
        if name in self._names:
            raise ModuleNotFoundError(name=name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let these modules, unless they have been imported, be missing while the block runs.

    For modules that a library takes if they are there, and that are not needed here.
    """
    finder = _Without(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def keep_pandas_out() -> None:
    """Let pyarrow, if this process has imported it, do without pandas from now on.

    It imports pandas for its first array, to recognise a Series: 0.3 s of CPU and 40 MB. Only for
    processes of our own: afterwards, pyarrow cannot convert anything to pandas.
    """
    arrow = sys.modules.get("pyarrow")
    if arrow is None or "pandas" in sys.modules:
        return
    with without("pandas"):
        arrow.array([0])  # looks for pandas, and never again


def set_aside(variable: str) -> None:
    """Hide an environment variable from this process, until `restore_variables` in a child."""
    os.environ[f"{ASIDE}{variable}"] = os.environ.pop(variable)


def set_variables(variables: Mapping[str, str | None]) -> None:
    """Give this process environment variables; None: it is not to have it."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def restore_variables() -> None:
    """Give this process the variables that a parent has set aside."""
    for name in [name for name in os.environ if name.startswith(ASIDE)]:
        os.environ[name.removeprefix(ASIDE)] = os.environ.pop(name)


def provide_home() -> None:
    """Set HOME to a folder in the temporary folder if the user's own cannot be written.

    PaddleNLP makes folders in it when it is imported, and keeps downloads there.

    Raises:
        StorageError: there is no such folder either.
    """
    if find_home_fault() is not None:
        os.environ[HOME] = str(_make_home())


def find_home_fault() -> str | None:
    """Return why files cannot be written into the user's home; None if they can.

    Raises:
        OSError: this user may not look at it.
    """
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set, and this user has no entry in the user database
        return "HOME is not set, and this user has no home"
    return None if is_writable(home) else f"{home} is not a folder that can be written"


def find_temporary_fault() -> str | None:
    """Return why there is no temporary folder, or why it is not that of TMPDIR; None if it is."""
    wanted = os.environ.get(TEMPORARY)
    if not has_temporary():
        return f"no temporary folder can be written, neither {wanted or 'the default'} nor others"
    if wanted and Path(wanted).absolute() != Path(tempfile.gettempdir()):
        return f"{wanted} cannot be written; {tempfile.gettempdir()} is used"
    return None


def has_temporary() -> bool:
    """Return whether there is a temporary folder that can be written."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def is_writable(folder: Path) -> bool:
    """Return whether this is a folder in which files can be made."""
    return find_write_error(folder) is None


def find_write_error(folder: Path) -> OSError | None:
    """Return the error of making a file in a folder; None if there is none.

    Permissions do not tell: root may write into /proc by them. The file has no name where the
    file system has such files; elsewhere it has one for an instant.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".wenti-"):
            return None
    except OSError as error:
        return error


def _make_home() -> Path:
    """Return this user's folder in the temporary folder; it is kept for the next process."""
    remedy = f"set {HOME} or {TEMPORARY} to a folder that can be written"
    try:
        home = Path(tempfile.gettempdir(), f"wenti-home-{os.getuid()}")
        home.mkdir(mode=0o700, exist_ok=True)
        is_ours = home.lstat().st_uid == os.getuid() and not home.is_symlink()
        # Somebody else may have made that folder first.
        return home if is_ours else Path(tempfile.mkdtemp(prefix=f"{home.name}-"))
    except OSError as error:
        raise StorageError(
            f"{find_home_fault()}, nor can the temporary folder be used; {remedy}"
        ) from error
