"""Rendering the page: facts in, HTML out. Equal facts give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any, cast

from jinja2 import BytecodeCache, Environment, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

from tasks.escaping import shorten, visible
from tasks.evaluation.scores import METRIC_NAMES
from tasks.report import lineage, rows
from tasks.report.facts import Facts
from tasks.report.figures import draw_distributions, draw_speed, rate
from tasks.report.formatting import FILTERS
from tasks.report.languages.both import join
from tasks.report.languages.texts import ENGLISH, Texts, read_chinese
from tasks.report.timeline import draw_timeline
from tasks.runs.journal import ShardHistory


class CompiledTemplates(BytecodeCache):
    """Keeps templates that were compiled with equal options by the same version of Jinja.

    They are in `__pycache__` beside their sources, as Python keeps modules: compiling those of a
    report takes 0.13 s of CPU, for every run.

    Jinja itself compares the sources and the version of Python. Where files cannot be written,
    templates are kept for this process only, which needs them for both languages of a page.

    Args:
        folder: that of the templates.
        options: the file with the source that chooses how they are compiled.
    """

    def __init__(self, folder: Path, options: Path) -> None:
        decided_by = version("jinja2").encode() + options.read_bytes()
        self._decided_by = hashlib.sha256(decided_by).hexdigest()[:16]
        self._folder = Path(cache_from_source(str(folder / "template.py"))).parent
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what is kept of a template."""
        if bucket.key not in self._kept:
            with suppress(OSError):
                self._kept[bucket.key] = self._file(bucket).read_bytes()
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep a template."""
        self._kept[bucket.key] = bucket.bytecode_to_string()
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                self._write(self._file(bucket), self._kept[bucket.key])

    def _write(self, file: Path, code: bytes) -> None:
        file.parent.mkdir(exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(code)
            Path(name).chmod(0o644)  # others may use it, as they use compiled modules
            Path(name).replace(file)
        except OSError:
            Path(name).unlink()
            raise

    def _file(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}-{self._decided_by}.{sys.implementation.cache_tag}"


TEMPLATES = Path(__file__).parent / "templates"
_COMPILED = CompiledTemplates(TEMPLATES, Path(__file__))
MOST_SHARDS = 500  # in the table


def render_report(facts: Facts) -> str:
    """Return the report of a run, an HTML document without external resources.

    By `report.language`, it is in one language, or in both and shows that of the browser.
    """
    language = facts.record.config.get("report", {}).get("language")
    if language == "en":
        return _render(facts, ENGLISH)
    if language == "zh":
        return _render(facts, read_chinese())
    return join(*(_render(facts, texts, has_both=True) for texts in (ENGLISH, read_chinese())))


def _render(facts: Facts, texts: Texts, has_both: bool = False) -> str:
    record, metrics = facts.record, facts.metrics
    predict = record.stages.get("predict")
    predict_started = predict.started if predict else 0.0
    signatures = {
        METRIC_NAMES["sacrebleu_zh"]: metrics["sacrebleu_signature"],
        texts("BLEU of a question"): facts.rows.values.bleu_signature,
    }
    scripts = ["language.js", "page.js"] if has_both else ["page.js"]
    page = make_environment(TEMPLATES, texts).get_template("page.html.j2")
    return page.render(
        language=ENGLISH.code if has_both else texts.code,
        facts=facts,
        record=record,
        metrics=metrics,
        metric_names=METRIC_NAMES,
        name=Path(record.config_file or record.run_id).stem,
        is_made_up=record.is_made_up,
        timeline=draw_timeline(metrics["stage_seconds"], record.stages, facts.shards, texts),
        distributions=draw_distributions(facts.rows.values, texts),
        speed=draw_speed(facts.shards, metrics["shards_planned"], predict_started, texts),
        shards=list_shards(facts)[:MOST_SHARDS],
        rate=rate,
        lineage_parts=lineage.describe(record, signatures, texts),
        config=lineage.list_config(record),
        limits=rows,
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        scripts=[(TEMPLATES / name).read_text(encoding="utf-8") for name in scripts],
    )


def list_shards(facts: Facts) -> list[tuple[int, ShardHistory]]:
    """Return each shard's number and history; missing shards come first, with the reason."""
    missing = {
        one["shard"]: replace(
            facts.shards.get(one["shard"], ShardHistory("failed")),
            state=one.get("state", "failed"),  # older versions did not tell the states apart
            rows=one["rows"],
            last_error=one["error"],
        )
        for one in facts.missing.get("shards", ())
    }
    others = [item for item in facts.shards.items() if item[0] not in missing]
    return [*sorted(missing.items()), *others]


def make_environment(folder: Path, texts: Texts = ENGLISH) -> Environment:
    """Return an environment for the templates in `folder` that escapes all values."""
    environment: Any = Environment(  # Any: the extension adds a method
        loader=FileSystemLoader(folder),
        bytecode_cache=_COMPILED,
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        finalize=_make_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(texts.find, texts.find, newstyle=True)
    own = {"plural": texts.plural, "moment": texts.moment, "hash_source": hash_source}
    environment.filters |= {**FILTERS, **own, "shorten": shorten}
    return cast("Environment", environment)


def _make_visible(value: object) -> object:
    """Escape control characters in strings, and marks that change the direction of text."""
    return visible(value) if type(value) is str else value  # not Markup, a subclass of str


def hash_source(inline: str) -> str:
    """Return the source expression that allows an inline style or script (CSP level 2, 4.2.5)."""
    digest = hashlib.sha256(inline.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
