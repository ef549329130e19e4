"""The rows of a run as its report shows them: numbers of all rows, and the text of some.

The file is read several times, each time only the necessary columns; only the text that is shown is
kept in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.evaluation.scores import sentence_bleu
from tasks.quality.texts.rows import Growing
from tasks.report.numbers.counted import Counted, find_least
from tasks.store.parted.places import read_places
from tasks.store.tables import ROWS_AT_A_TIME, read_batches, read_schema, spaced

MOST_SAMPLES = 1000
MOST_CHARACTERS = 500_000  # of all samples together, so that a report has at most 3 MB
MOST_SCORED = 20_000  # rows with a sentence BLEU
EXTREMES = 10
LONGEST_TEXT = 2000  # characters of a passage, and of any other text
MOST_ALTERNATIVES = 4


@dataclass(frozen=True)
class Excerpt:
    """A passage, cut around its answer if it contains it; `omitted` characters are left out."""

    before: str
    answer: str
    after: str
    omitted: int


@dataclass(frozen=True)
class SampleRow:
    """A row to show, with shortened text.

    `score` is None if the engine returns none, `bleu` if it was not computed, `cut` if nothing was
    cut off (or an older version did not note it).
    """

    row: int
    id: str
    passage: Excerpt
    answer: str
    question: str
    reference: str | None
    score: float | None
    bleu: float | None
    cut: str | None
    alternatives: list[dict[str, Any]]
    more_alternatives: int


@dataclass(frozen=True)
class RowValues:
    """Numbers of every row; lengths are in characters.

    Attributes:
        scores: of the search, in order, float32 [rows], NaN if the engine returns none.
        questions: lengths of the questions.
        passages: lengths of the passages.
        references: lengths of the references that there are.
        bleus: sentence BLEU, 0 to 100, by the places of the rows that have it, ascending.
        bleu_signature: how it was computed; None if there are no references.
        identical: the number of questions that equal their reference.
    """

    scores: NDArray[np.float32]
    questions: Counted
    passages: Counted
    references: Counted
    bleus: Mapping[int, float]
    bleu_signature: str | None
    identical: int

    @property
    def has_scores(self) -> bool:
        """Whether any question has a score."""
        return bool((~np.isnan(self.scores)).any())

    @property
    def empty(self) -> int:
        """The number of empty questions."""
        return self.questions.count(0)

    @property
    def scored(self) -> int:
        """The number of questions with a BLEU."""
        return len(self.bleus)


@dataclass(frozen=True)
class ReportRows:
    """The rows of a run: numbers of all rows, evenly spaced samples, and rankings by name."""

    values: RowValues
    samples: list[SampleRow]
    rankings: Mapping[str, list[SampleRow]]


def read_report_rows(path: PurePath) -> ReportRows:
    """Return the rows of a run's predictions.

    Raises:
        StoreCorruptionError: the file cannot be read completely.
    """
    values = _read_values(path)
    texts = (values.passages, values.references, values.questions)
    samples = _place_samples(values.scores.size, *texts)
    rankings = {name: list(ranking) for name, ranking in _rank(values)}
    wanted = sorted({*samples, *(at for ranking in rankings.values() for at in ranking)})
    names = ["row", "id", "context", "answer", "reference", "question", "alternatives", "cut"]
    names = [name for name in read_schema(path).names if name in names]  # older files have no `cut`
    records = zip(wanted, read_places(path, wanted, names), strict=True)
    rows = {at: _make_row(record, values, at) for at, record in records}
    picked = {name: [rows[at] for at in ranking] for name, ranking in rankings.items()}
    return ReportRows(values, [rows[at] for at in samples], picked)


def cut_passage(context: str, answer: str, longest: int = LONGEST_TEXT) -> Excerpt:
    """Return at most `longest` characters of a passage around its answer, where that is first."""
    found = answer if answer in context else ""
    at = context.find(found)
    start = max(0, min(at - longest // 2, len(context) - longest))
    stop = min(start + longest, len(context))
    marked = context[at : min(at + len(found), stop)]
    return Excerpt(
        before=("…" if start else "") + context[start:at],
        answer=marked,
        after=context[at + len(marked) : stop] + ("…" if stop < len(context) else ""),
        omitted=len(context) - (stop - start),
    )


def _read_values(path: PurePath) -> RowValues:
    scores, has_reference = Growing(np.float32), Growing(np.bool_)
    lengths = {name: Counter[int]() for name in ("context", "reference", "question")}
    identical = 0
    for batch in read_batches(path, [*lengths, "score"], ROWS_AT_A_TIME):
        for name, counts in lengths.items():
            counts.update(_count_lengths(batch[name]))
        scores.add(batch["score"].to_numpy(zero_copy_only=False))
        has_reference.add(batch["reference"].is_valid().to_numpy(zero_copy_only=False))
        identical += pc.sum(pc.equal(batch["question"], batch["reference"])).as_py() or 0
    counted = {name: Counted.of_counts(counts) for name, counts in lengths.items()}
    samples = _place_samples(len(scores.array), *counted.values())
    bleus, signature = _score(path, has_reference.array, np.array(samples, np.int64))
    return RowValues(
        scores=scores.array,
        questions=counted["question"],
        passages=counted["context"],
        references=counted["reference"],
        bleus=bleus,
        bleu_signature=signature,
        identical=identical,
    )


def _count_lengths(texts: pa.StringArray) -> dict[int, int]:
    """Return how many of the texts that there are have each length."""
    lengths = pc.utf8_length(texts).drop_null().to_numpy()
    return dict(zip(*(one.tolist() for one in np.unique(lengths, return_counts=True)), strict=True))


def _place_samples(rows: int, *texts: Counted) -> list[int]:
    """Return the places of the samples, evenly spaced; fewer than `MOST_SAMPLES` of long texts.

    `texts` are the lengths of the texts of all rows.
    """
    shown = sum(text.sum_up_to(LONGEST_TEXT) for text in texts)
    return spaced(rows, min(MOST_SAMPLES, int(MOST_CHARACTERS * rows / max(shown, 1))))


def _score(
    path: PurePath, has_reference: NDArray[np.bool_], samples: NDArray[np.int64]
) -> tuple[dict[int, float], str | None]:
    """Return the BLEU of the samples and of other evenly spaced rows, and its signature."""
    if not has_reference.any():
        return {}, None
    samples = samples[has_reference[samples]]
    is_other = has_reference.copy()
    is_other[samples] = False
    others = np.flatnonzero(is_other)
    others = others[spaced(others.size, MOST_SCORED - samples.size)]
    places = np.union1d(samples, others).tolist()
    records = read_places(path, places, ["reference", "question"])
    bleus, signature = sentence_bleu(
        [(record["question"], record["reference"]) for record in records]
    )
    return dict(zip(places, bleus.tolist(), strict=True)), signature


def _rank(rows: RowValues) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the places of the worst and the best rows by name; ties are in input order."""
    scored = list(rows.bleus)
    bleus = np.array([*rows.bleus.values()], np.float64)
    ends = (("lowest", 1), ("highest", -1))
    for end, sign in ends:
        yield f"{end} score", find_least(sign * rows.scores, EXTREMES)
    for end, sign in ends:
        yield f"{end} bleu", [scored[at] for at in find_least(sign * bleus, EXTREMES)]


def _make_row(record: Mapping[str, Any], values: RowValues, at: int) -> SampleRow:
    others, reference = record["alternatives"], record["reference"]
    return SampleRow(
        row=record["row"],
        id=_cut(record["id"]),
        passage=cut_passage(record["context"], record["answer"]),
        answer=_cut(record["answer"]),
        question=_cut(record["question"]),
        reference=None if reference is None else _cut(reference),
        score=_or_none(values.scores[at]),
        bleu=values.bleus.get(at),
        cut=record.get("cut"),
        alternatives=[
            {**other, "question": _cut(other["question"])} for other in others[:MOST_ALTERNATIVES]
        ],
        more_alternatives=max(0, len(others) - MOST_ALTERNATIVES),
    )


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
