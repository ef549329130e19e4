"""One thing that was tried, and how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tasks.errors import UnusableError, WentiError

logger = logging.getLogger("wenti.acceptance")

State = Literal["passed", "failed", "told", "not run"]


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: what was tried.
        state: `told` if there are figures and no promise that they could break; `not run` if the
            machine or the options do not allow it.
        message: what there is to say, in a sentence.
        figures: what was measured.
    """

    name: str
    state: State
    message: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give it as plain JSON types."""
        return asdict(self)


def carry_out(name: str, check: Callable[[], Check]) -> Check:
    """Do one check and log how it ended; what cannot be done here does not end the others."""
    logger.info("%s …", name)
    try:
        found = check()
    except UnusableError as error:
        found = Check(name, "not run", str(error))
    except WentiError as error:
        found = Check(name, "failed", str(error))
    logger.info("%s: %s%s", name, found.state, f" ({found.message})" if found.message else "")
    return found
