"""The rows of a run as its report shows them: figures of all, and some to be read.

The file is read a few times, each time only the columns that are needed, and no more than what is
shown is kept of its texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.evaluation.scores import sentence_bleu
from tasks.report.bins import Values
from tasks.store.tables import read_batches, read_places, spaced

MOST_SAMPLES = 1000
MOST_SCORED = 20_000  # rows that get a BLEU of their own
EXTREMES = 10
LONGEST_TEXT = 2000  # characters of a passage, and of any other text
MOST_ALTERNATIVES = 4


@dataclass(frozen=True)
class Passage:
    """A passage around its answer, if that is found in it; `omitted` characters are left out."""

    before: str
    answer: str
    after: str
    omitted: int


@dataclass(frozen=True)
class Row:
    """A row to be read, texts shortened.

    `score` is None if the engine has none, `bleu` where it was not computed.
    """

    row: int
    id: str
    passage: Passage
    answer: str
    question: str
    reference: str | None
    score: float | None
    bleu: float | None
    alternatives: list[dict[str, Any]]
    more_alternatives: int


@dataclass(frozen=True)
class Figures:
    """Of every row, in order; lengths are in characters.

    Attributes:
        scores: as the search gave them, not a number where the engine has none.
        questions: lengths of the questions.
        passages: lengths of the passages.
        references: lengths of the references, not a number where there is none.
        bleus: not a number where none was computed.
        bleu_signature: how they were computed; None if there are no references.
        identical: how many questions are their reference.
    """

    scores: Values
    questions: Values
    passages: Values
    references: Values
    bleus: Values
    bleu_signature: str | None
    identical: int

    @property
    def has_scores(self) -> bool:
        """Whether the engine gave any question a score."""
        return bool((~np.isnan(self.scores)).any())

    @property
    def empty(self) -> int:
        """How many questions have no text."""
        return int(np.count_nonzero(self.questions == 0))

    @property
    def scored(self) -> int:
        """How many questions have a BLEU."""
        return int(np.count_nonzero(~np.isnan(self.bleus)))


@dataclass(frozen=True)
class Rows:
    """The rows of a run: figures of all, evenly spaced samples, and rankings by their names."""

    figures: Figures
    samples: list[Row]
    rankings: Mapping[str, list[Row]]


def read_rows(path: PurePath) -> Rows:
    """Read the rows of a predictions.parquet.

    Raises:
        StoreCorruptionError: the file cannot be read whole.
    """
    figures = _read_figures(path)
    samples = spaced(figures.scores.size, MOST_SAMPLES)
    rankings = {name: list(ranking) for name, ranking in _rank(figures)}
    wanted = sorted({*samples, *(at for ranking in rankings.values() for at in ranking)})
    names = ["row", "id", "context", "answer", "reference", "question", "alternatives"]
    records = zip(wanted, read_places(path, wanted, names), strict=True)
    rows = {at: _make_row(record, figures, at) for at, record in records}
    picked = {name: [rows[at] for at in ranking] for name, ranking in rankings.items()}
    return Rows(figures, [rows[at] for at in samples], picked)


def cut_passage(context: str, answer: str, longest: int = LONGEST_TEXT) -> Passage:
    """Give `longest` characters of a passage at most, around where its answer stands first."""
    found = answer if answer in context else ""
    at = context.find(found)
    start = max(0, min(at - longest // 2, len(context) - longest))
    stop = min(start + longest, len(context))
    marked = context[at : min(at + len(found), stop)]
    return Passage(
        before=("…" if start else "") + context[start:at],
        answer=marked,
        after=context[at + len(marked) : stop] + ("…" if stop < len(context) else ""),
        omitted=len(context) - (stop - start),
    )


def _read_figures(path: PurePath) -> Figures:
    pieces: list[dict[str, Values]] = []
    identical = 0
    for batch in read_batches(path, ["context", "reference", "question", "score"]):
        texts = {name: batch[name] for name in ("context", "reference", "question")}
        lengths = {name: _as_array(pc.utf8_length(column)) for name, column in texts.items()}
        pieces.append({**lengths, "score": _as_array(batch["score"])})
        identical += pc.sum(pc.equal(batch["question"], batch["reference"])).as_py() or 0
    columns = {
        name: np.concatenate([np.empty(0), *(piece[name] for piece in pieces)])
        for name in ("context", "reference", "question", "score")
    }
    bleus, signature = _score(path, ~np.isnan(columns["reference"]))
    return Figures(
        scores=columns["score"],
        questions=columns["question"],
        passages=columns["context"],
        references=columns["reference"],
        bleus=bleus,
        bleu_signature=signature,
        identical=identical,
    )


def _as_array(column: pa.Array) -> Values:
    """Give a column as floats, null as not a number."""
    array: Values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return array


def _score(path: PurePath, has_reference: NDArray[np.bool_]) -> tuple[Values, str | None]:
    """Give the BLEU of the samples and of evenly spaced other rows."""
    bleus = np.full(has_reference.size, np.nan)
    if not has_reference.any():
        return bleus, None
    samples = np.array(spaced(has_reference.size, MOST_SAMPLES))
    samples = samples[has_reference[samples]]
    others = np.setdiff1d(np.flatnonzero(has_reference), samples)
    others = others[spaced(others.size, MOST_SCORED - samples.size)]
    places = np.union1d(samples, others)
    records = read_places(path, places.tolist(), ["reference", "question"])
    bleus[places], signature = sentence_bleu(
        (record["question"], record["reference"]) for record in records
    )
    return bleus, signature


def _rank(figures: Figures) -> Iterator[tuple[str, Sequence[int]]]:
    """Give the places of the worst and the best rows; of equals, the first come first."""
    for name, values in (("score", figures.scores), ("bleu", figures.bleus)):
        places = np.flatnonzero(~np.isnan(values))
        for end, sign in (("lowest", 1), ("highest", -1)):
            order = np.argsort(sign * values[places], kind="stable")
            yield f"{end} {name}", places[order[:EXTREMES]].tolist()


def _make_row(record: Mapping[str, Any], figures: Figures, at: int) -> Row:
    others, reference = record["alternatives"], record["reference"]
    return Row(
        row=record["row"],
        id=_cut(record["id"]),
        passage=cut_passage(record["context"], record["answer"]),
        answer=_cut(record["answer"]),
        question=_cut(record["question"]),
        reference=None if reference is None else _cut(reference),
        score=_or_none(figures.scores[at]),
        bleu=_or_none(figures.bleus[at]),
        alternatives=[
            {**other, "question": _cut(other["question"])} for other in others[:MOST_ALTERNATIVES]
        ],
        more_alternatives=max(0, len(others) - MOST_ALTERNATIVES),
    )


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
