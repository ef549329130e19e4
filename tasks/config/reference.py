"""The reference pages of all config keys, generated from the settings models.

`make reference` writes them; tests compare them. The texts of the Chinese page are in
`reference.zh.yaml`, each beside the English text that it was written for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from tasks.config.describe import ENGLISH, allowed
from tasks.config.settings import GUARDED_KEYS, Settings

CHINESE_TEXTS = Path(__file__).with_name("reference.zh.yaml")

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


@dataclass(frozen=True)
class Language:
    """The texts of a page.

    Attributes:
        head: the text before the sections.
        guarded: the sentence about `GUARDED_KEYS`; {keys} stands for them.
        columns: the header of the tables.
        words: those for allowed values, as in `ENGLISH`.
        texts: the sections and keys: `en`, the text in the settings, and `zh`.
    """

    head: str = _HEAD
    guarded: str = _GUARDED
    columns: str = "key | default | allowed | meaning"
    words: Mapping[str, str] = field(default_factory=lambda: ENGLISH)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def meaning(self, name: str, english: str) -> str:
        """Return the text of a section or key; in English if there is none for this text."""
        text = self.texts.get(name, {})
        return text["zh"] if text.get("en") == english else english


def read_chinese() -> Language:
    """Return the texts of the Chinese page."""
    texts: dict[str, Any] = yaml.safe_load(CHINESE_TEXTS.read_text(encoding="utf-8"))
    return Language(**texts)


def english_texts() -> dict[str, str]:
    """Return the text in the settings of every section and key, by name such as `store.path`."""
    return {name: text for section in _sections() for name, text in _texts_of(*section)}


def as_markdown(language: Language | None = None) -> str:
    """Return the text of docs/configuration.md, or of the page in another language."""
    language = language or Language()
    keys = language.words["separator"].join(f"`{key}`" for key in sorted(GUARDED_KEYS))
    parts = [line for section in _sections() for line in _lines(language, *section)]
    return "\n".join([language.head, language.guarded.format(keys=keys), *parts])


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, section in Settings.model_fields.items():
        if isinstance(section.annotation, type) and issubclass(section.annotation, BaseModel):
            yield name, section.annotation


def _texts_of(section: str, model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    yield section, model.__doc__ or ""
    for key, settings in model.model_fields.items():
        yield f"{section}.{key}", settings.description or ""


def _lines(language: Language, section: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## `{section}`\n\n{language.meaning(section, model.__doc__ or '')}\n"
    yield f"| {language.columns} |\n| --- | --- | --- | --- |"
    for key, settings in model.model_fields.items():
        default = json.dumps(settings.default, ensure_ascii=False)
        values = allowed([section, key], language.words)
        meaning = language.meaning(f"{section}.{key}", settings.description or "")
        yield f"| `{key}` | `{default}` | {values} | {meaning} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(as_markdown(read_chinese() if sys.argv[1:] == ["zh"] else None))
