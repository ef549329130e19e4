"""One check and its outcome."""

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
    """The outcome of a check.

    Attributes:
        name: what was checked.
        state: `told` if it only reports figures and cannot fail; `not run` if this machine or the
            options do not allow it.
        message: the outcome in a sentence.
        figures: what was measured, as JSON types.
    """

    name: str
    state: State
    message: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON types."""
        return asdict(self)


def carry_out(name: str, check: Callable[[], Check]) -> Check:
    """Run a check and log its outcome; a `WentiError` makes it `not run` or `failed`."""
    logger.info("%s …", name)
    try:
        result = check()
    except UnusableError as error:
        result = Check(name, "not run", str(error))
    except WentiError as error:
        result = Check(name, "failed", str(error))
    logger.info("%s: %s%s", name, result.state, f" ({result.message})" if result.message else "")
    return result
