"""The results as one self-contained HTML document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.report import page as report

HERE = Path(__file__).parent
CLASSES = {"passed": "good", "failed": "bad", "not run": "warn", "told": ""}


def render(result: Mapping[str, Any]) -> str:
    """Return the HTML page for `result`, the content of the JSON file."""
    style = (report.TEMPLATES / "page.css").read_text(encoding="utf-8")
    template = report.make_environment(HERE).get_template("page.html.j2")
    return template.render(
        result=result,
        classes=CLASSES,
        as_json=lambda value: json.dumps(value, ensure_ascii=False, indent=2),
        style=style,
        style_hash=report.hash_source(style),
    )
