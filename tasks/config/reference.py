"""The reference of every config key, made from the models themselves.

`python -m tasks.reference > docs/configuration.md` renews the page; a test compares them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from pydantic import BaseModel

from tasks.config.describe import allowed
from tasks.config.settings import Settings

_HEAD = """# Configuration

A config is a YAML file of sections with keys below them. A key that is left out has its default;
an unknown key, a wrong type or a value out of range is a fault, and all faults are reported at
once. `--set section.key=value` on the command line wins over the file (`value` is YAML: `null`,
`[gpu:0, gpu:1]`, `0.6`). Relative paths start at the working folder.

The names are those of the flags of PaddleNLP's question-generation scripts.
"""


def as_markdown() -> str:
    """Give docs/configuration.md."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield f"## `{name}`\n\n{section.__doc__}\n"
            yield "| key | default | allowed | meaning |\n| --- | --- | --- | --- |"
            yield from _rows(name, section)
            yield ""


def _rows(section: str, model: type[BaseModel]) -> Iterator[str]:
    for key, field in model.model_fields.items():
        default = json.dumps(field.default, ensure_ascii=False)
        cells = (f"`{key}`", f"`{default}`", allowed([section, key]), field.description or "")
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
