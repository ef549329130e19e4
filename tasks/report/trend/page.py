"""The trend of a config as an HTML document without external resources."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tasks.quality.flags import FLAGS
from tasks.report.formatting import count, decimal, percent, price
from tasks.report.languages.both import join
from tasks.report.languages.texts import ENGLISH, Texts, read_chinese
from tasks.report.page import TEMPLATES, make_environment
from tasks.report.trend.figures import draw_groups, draw_trend
from tasks.report.trend.history import RunFigures

MOST_RUNS = 1000  # in the table
BEGINNING = r'(?s)<!doctype html>.*<meta name="generator" content="wenti trend">'
"""What each page begins with, as a regular expression."""


def render_trend(name: str, history: Sequence[RunFigures], language: str = "auto") -> str:
    """Return the page of the runs of a config.

    Args:
        name: of the config.
        history: its runs, oldest first.
        language: `report.language`.
    """
    if language == "en":
        return _render(name, history, ENGLISH)
    if language == "zh":
        return _render(name, history, read_chinese())
    pages = (_render(name, history, texts, True) for texts in (ENGLISH, read_chinese()))
    return join(*pages)


def _render(name: str, history: Sequence[RunFigures], texts: Texts, has_both: bool = False) -> str:
    scripts = ["language.js", "page.js"] if has_both else []
    newest = history[::-1][:MOST_RUNS]
    return (
        make_environment(TEMPLATES, texts)
        .get_template("trend.html.j2")
        .render(
            language=ENGLISH.code if has_both else texts.code,
            name=name,
            history=history,
            shown=newest,
            figures=draw_trend(history, texts),
            groups=draw_groups(history, texts),
            flags=[flag for flag in FLAGS if any(run.flags.get(flag) for run in history)],
            has={
                field: any(getattr(run, field) is not None for run in history)
                for field in ("bleu_4", "rouge_l", "exact_match", "score_per_token", "cost")
            },
            style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
            show={
                **{"count": count, "percent": percent, "decimal": decimal, "price": price},
                "score": partial(decimal, digits=4),
            },
            scripts=[(TEMPLATES / script).read_text(encoding="utf-8") for script in scripts],
        )
    )
