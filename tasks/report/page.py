"""Rendering the page: facts in, HTML out. Equal facts give equal bytes."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.escaping import shorten, visible
from tasks.evaluation.scores import METRIC_NAMES
from tasks.load.rules import describe_lines
from tasks.report import lineage, rows
from tasks.report.facts import Facts
from tasks.report.figures import draw_distributions, draw_speed, rate
from tasks.report.formatting import FILTERS
from tasks.report.timeline import draw_timeline
from tasks.runs.journal import ShardHistory

TEMPLATES = Path(__file__).parent / "templates"
MOST_SHARDS = 1000  # in the table


def render_report(facts: Facts) -> str:
    """Return the report of a run, an HTML document without external resources."""
    record, metrics = facts.record, facts.metrics
    predict = record.stages.get("predict")
    predict_started = predict.started if predict else 0.0
    signatures = {
        METRIC_NAMES["sacrebleu_zh"]: metrics["sacrebleu_signature"],
        "BLEU of a question": facts.rows.values.bleu_signature,
    }
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    page = make_environment(TEMPLATES).get_template("page.html.j2")
    return page.render(
        facts=facts,
        record=record,
        metrics=metrics,
        metric_names=METRIC_NAMES,
        name=Path(record.config_file or record.run_id).stem,
        is_made_up=lineage.is_made_up(record),
        timeline=draw_timeline(metrics["stage_seconds"], record.stages, facts.shards),
        distributions=draw_distributions(facts.rows.values),
        speed=draw_speed(facts.shards, metrics["shards_planned"], predict_started),
        shards=list_shards(facts)[:MOST_SHARDS],
        rate=rate,
        lineage_parts=lineage.describe(record, signatures),
        config=lineage.list_config(record),
        limits=rows,
        style=style,
        script=script,
        style_hash=hash_source(style),
        script_hash=hash_source(script),
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


def make_environment(folder: Path) -> Environment:
    """Return an environment for the templates in `folder` that escapes all values."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=_make_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {**FILTERS, "shorten": shorten, "describe_lines": describe_lines}
    return environment


def _make_visible(value: object) -> object:
    """Escape control characters in strings, and marks that change the direction of text."""
    return visible(value) if type(value) is str else value  # not Markup, a subclass of str


def hash_source(inline: str) -> str:
    """Return the source expression that allows an inline style or script (CSP level 2, 4.2.5)."""
    digest = hashlib.sha256(inline.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
