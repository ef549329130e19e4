"""A machine without Paddle: the packages of this environment, but for Paddle's."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

_START = (
    "import site, sys; site.addsitedir(sys.argv.pop(1)); from flows.cli.main import main; main()"
)


def wenti_without_paddle(folder: Path) -> tuple[str, ...]:
    """Return how `wenti` is started there; the folder gets links to the packages."""
    folder.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("paddle"):
            (folder / entry.name).symlink_to(entry)
    return (sys.executable, "-S", "-c", _START, str(folder))
