"""The reference page of all config keys, generated from the settings models.

`python -m tasks.config.reference > docs/configuration.md` regenerates it; a test compares them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from pydantic import BaseModel

from tasks.config.describe import allowed
from tasks.config.settings import GUARDED_KEYS, Settings

_HEAD = """# Configuration

A config is a YAML file of sections with keys below them. A key that is left out has its default
value; an unknown key, a wrong type or a value out of range is a fault, and all faults are reported
at once. `--set section.key=value` on the command line overrides the file. A text or a path is taken
as it is, without quotes; numbers are decimal, lists are written as `[gpu:0, gpu:1]`, and `null`
stands for no value. Relative paths are resolved from the working folder.

`extends: base.yaml`, at the top of a config, starts from another file, which may extend a third. It
is a path from the folder of the file that has it. The values of the config replace those of that
file, key by key. A run's config.yaml has all keys and extends nothing.

In a path, and in `store.url`, `{date}` is the day of the run, such as 2026-11-23, and `{date-1}`
the day before. `{date:%Y%m%d}` and `{date-1:%Y%m%d}` write it as 20261123 (the directives are those
of `strftime` for a day). [operating.md](operating.md#run-every-night) says which day that is.

Keys have the names of the flags of PaddleNLP's question-generation scripts.
"""


_GUARDED = """Runs of a deployment set {keys} only if prefect.yaml allows it
([operating.md](operating.md#what-a-run-may-set)).
"""


def as_markdown() -> str:
    """Return the text of docs/configuration.md."""
    guarded = _GUARDED.format(keys=", ".join(f"`{key}`" for key in sorted(GUARDED_KEYS)))
    return "\n".join([_HEAD, guarded, *_sections()])


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
