"""The minimal content of run.json."""

from __future__ import annotations

from typing import Any

RUN_ID = "20261123-010000-0a1b2c"


def least_record(run_id: str = RUN_ID, **others: object) -> dict[str, Any]:
    """Return the keys that every version of Wenti has written, and `others`."""
    return {
        "run_id": run_id,
        "state": "completed",
        "started": "2026-11-23T01:00:00+00:00",
        **dict.fromkeys(("export", "dataset", "predictions"), "ab" * 32),
        **others,
    }
