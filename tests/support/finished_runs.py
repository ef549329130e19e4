"""The folder of a finished run, written by the tests, and a parser for its report."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.config.settings import DatasetSettings, Settings
from tasks.quality.flags import summarize
from tasks.quality.judge import QUALITY
from tasks.quality.quality_file import judge_file
from tasks.report.facts import gather_facts
from tasks.report.page import render_report
from tasks.runs.journal import JOURNAL_FILE
from tasks.runs.record import RunRecord
from tasks.runs.results import PREDICTIONS_FILE
from tasks.store.tables import PREDICTIONS, REJECTS, commit_table, read_batches
from tests.support.run_records import least_record

VOID = {"meta", "input"}  # elements of the page that have no end tag


def prediction(row: int, **values: object) -> dict[str, Any]:
    """Return a row of predictions.parquet."""
    made_up = {
        "row": row,
        "id": f"id-{row}",
        "context": f"泰山位于山东省，海拔{row}米。",
        "answer": "山东省",
        "reference": f"泰山{row}位于哪个省？",
        "question": f"泰山{row}在哪里？",
        "score": -0.01 * row,
        "is_finished": True,
        "token_count": 2,
        "output_ids": [1, 2],
        "alternatives": [],
        "cut": None,
        "unknown_tokens": 0,
    }
    return made_up | values


def grouped(*values: object, others: int = 0) -> dict[str, Any]:
    """Return what metrics.json says of groups with these values of one column, and of others."""
    metric = {"value": 86.24, "low": 80.0, "high": 91.5}
    figures = {
        **{"rows": 10, "predictions": 8, "rejects": 2, "rows_dropped": 1, "flagged_rows": 2},
        **{"flags": {"empty": 0, "duplicate": 2}, "score_per_token": -0.5, "references": 8},
        **{"bleu_4": metric, "rouge_l": metric, "exact_match": {**metric, "low": None}},
    }
    shown = [{"values": [value], **figures} for value in values]
    rest = {"groups": others, **figures} if others else None
    return {"columns": ["source"], "count": len(values) + others, "shown": shown, "others": rest}


def judge_run(folder: Path) -> dict[str, Any]:
    """Write a run's quality.parquet; return what metrics.json says of it."""
    commit_table(folder / "quality.parquet", QUALITY, judge_file(folder / PREDICTIONS_FILE, unk=9))
    return summarize(read_batches(folder / "quality.parquet"))


@dataclass
class FinishedRun:
    """A run's rows, rejects and journal events, and changes to its metrics and its record."""

    predictions: list[dict[str, Any]] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    mark: Mapping[bytes, bytes] | None = None  # metadata of predictions.parquet

    def report(self, folder: Path, without: Collection[str] = ()) -> str:
        """Write the run's files and return its report; keys in `without` are left out."""
        schema = PREDICTIONS.with_metadata(self.mark)
        for name, rows, columns in (
            ("predictions.parquet", self.predictions, schema),
            ("rejects.parquet", self.rejects, REJECTS),
        ):
            commit_table(folder / name, columns, [pa.RecordBatch.from_pylist(rows, columns)])
        quality = judge_run(folder)
        lines = (json.dumps(event) + "\n" for event in self.events)
        (folder / JOURNAL_FILE).write_text("".join(lines))
        record, metrics = (
            {key: value for key, value in values.items() if key not in without}
            for values in (self._record(), {"quality": quality, **self._metrics()})
        )
        return render_report(gather_facts(folder, RunRecord.model_validate(record), metrics))

    def _metrics(self) -> dict[str, Any]:
        references = sum(row["reference"] is not None for row in self.predictions)
        score = 12.5 if references else None
        counts = {"predictions": len(self.predictions), "rejects": len(self.rejects)}
        states = [event["event"] for event in self.events]
        shards = {f"shards_{state}": states.count(state) for state in ("made", "reused")}
        return {
            **counts,
            "rows_in": sum(counts.values()),
            "partial": False,
            "rows_missing": 0,
            **shards,
            "shards_failed": 0,
            "shards_left_out": 0,
            "cut_rows": 0,
            "cut": {},
            "unknown_tokens": 0,
            "unknown_rows": 0,
            "multiline_rows": 0,
            "multiline_at": [],
            "shards_planned": max(1, len({event["shard"] for event in self.events})),
            "references": references,
            **dict.fromkeys(("bleu_1", "bleu_2", "bleu_3", "bleu_4"), score),
            **dict.fromkeys(("rouge_l", "sacrebleu_zh", "exact_match"), score),
            "sacrebleu_signature": "nrefs:1" if references else None,
            "input_tokens": 900,
            "output_tokens": 70,
            "padding_share": 0.125,
            "rows_per_second": 7.5 if shards["shards_made"] else None,
            "stage_seconds": {"export": 2.0, "load": 3.0, "predict": 4.0, "aggregate": 1.0},
            **self.metrics,
        }

    def _record(self) -> dict[str, Any]:
        digest = "ab" * 32
        return {
            **least_record(),
            "config_file": "/jobs/nightly.yaml",
            "config": Settings(dataset=DatasetSettings(predict_file="/jobs/rows.jsonl")).as_dict(),
            "model_folder": "/models/unimo",
            "decided_by": {
                "export": {
                    "engine": "native",
                    "engine_version": 1,
                    "paddlepaddle": "paddlepaddle 2.6.2",
                    "paddlenlp": "2.8.1",
                    "model": {"vocab.txt": digest},
                },
                "dataset": {"passages": {"kind": ".jsonl", "sha256": digest}, "pyarrow": "20.0.0"},
                "predictions": {},
            },
            "versions": {"wenti": "0.1.0", "python": "3.11.7"},
            "stages": {
                "export": {"started": 0.1, "reused": False},
                "load": {"started": 0.1, "reused": True},
                "predict": {"started": 3.1},
                "aggregate": {"started": 7.1},
            },
            **self.record,
        }


def made(shard: int, at: float, rows: int = 10, device: str = "gpu:0") -> dict[str, Any]:
    """Return the journal's event for a shard that took a second."""
    facts = {"device": device, "seconds": 1.0, "rows": rows, "rejects": 0, "at": at}
    return {"shard": shard, "event": "made", **facts}


def nightly_run() -> FinishedRun:
    """Return thirty rows in three shards, one of them made by the second attempt, and a reject."""
    lost = {"line": 7, "id": None, "reason": "not_json", "detail": "no object"}
    failure = {"shard": 1, "event": "failed", "device": "gpu:1", "error": "died", "at": 4.0}
    return FinishedRun(
        predictions=[prediction(row) for row in range(30)],
        rejects=[{"row": row, **lost} for row in (30,)],
        events=[made(0, 4.5), failure, made(2, 5.5), made(1, 6.5, device="gpu:1")],
    )


@dataclass
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Element]:
        """Yield this element and all its descendants in document order."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child

    @property
    def text(self) -> str:
        """All text of the element, as it is in the source; of two languages, the English."""
        return "".join(one if isinstance(one, str) else one.text for one in self.shown)

    @property
    def shown(self) -> list[Element | str]:
        """The children without those that an English browser does not show."""
        return [
            one
            for one in self.children
            if isinstance(one, str) or one.attributes.get("class") != "zh"
        ]

    @property
    def words(self) -> str:
        """All text of the element, with single spaces between words."""
        return " ".join(self.text.split())

    def named(self, tag: str, of_class: str | None = None) -> list[Element]:
        """Return the elements with a tag and, optionally, a class."""
        found = [one for one in self if one.tag == tag]
        if of_class is None:
            return found
        return [one for one in found if of_class in (one.attributes.get("class") or "").split()]

    def part(self, name: str) -> Element:
        """Return the only element with an id."""
        (found,) = (one for one in self if one.attributes.get("id") == name)
        return found


class _Reader(HTMLParser):
    """Parses a page; fails unless all elements are closed in the right order."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        pairs = list(attrs)
        assert len({name for name, _ in pairs}) == len(pairs), f"an attribute twice: {pairs}"
        element = Element(tag, dict(pairs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(html: str) -> Element:
    """Return the root element of a page; fails if it is not well-formed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    (page,) = reader.open
    return page


HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}{% raw %}&amp;"
TURNING = "a\u202eb\u0000c\u2066\x1b[31m"
TURNED = r"a\u202eb\x00c\u2066\x1b[31m"


def hostile_run() -> FinishedRun:
    """Return a run in which every text contains markup and control characters."""
    text = HOSTILE + TURNING
    texts = dict.fromkeys(("id", "context", "answer", "question", "reference"), text)
    other = [{"question": text, "score": 0.5}]
    reject = {"row": 1, "line": 1, "id": text, "reason": text, "detail": text}
    failed = {"shard": 0, "event": "failed", "device": text, "error": text, "at": 4.0}
    shard = {"shard": 1, "rows": 1, "first_row": 1, "last_row": 1, "error": text}
    summary = {"rows_missing": 1, "shards": [shard], "remedy": text}
    config = {text: {text: text}, "predict": {"devices": [text], "precision": text}}
    record = {
        **dict.fromkeys(("config_file", "rerun_of", "export", "model_folder"), text),
        "config": config,
        "versions": {text: text},
        "decided_by": {
            "export": {"engine": text, "engine_version": text, "model": {text: text}},
            "dataset": {"passages": {"sha256": text, "dataset_name": text, "split": text}},
        },
    }
    return FinishedRun(
        predictions=[prediction(0, **texts, alternatives=other)],
        rejects=[reject],
        events=[failed, made(0, 5.0, device=text)],
        metrics={"partial": True, "rows_missing": 1, "sacrebleu_signature": text}
        | {"groups": {**grouped(text), "columns": [text]}},
        record=record,
        mark={b"wenti.partial": json.dumps(summary).encode()},
    )
