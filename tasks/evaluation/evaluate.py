"""Evaluation: metrics of the questions, if the passages have reference questions."""

from __future__ import annotations

import unicodedata
from pathlib import PurePath

import pyarrow.compute as pc

from tasks.engine.paddle.installation import find_version
from tasks.evaluation.scores import score_file
from tasks.parallel.rows import ALONE, RowHelpers
from tasks.plan.plan import Plan
from tasks.store.manifest import Details, Manifest, commit_manifest, find_checkpoint, fingerprint
from tasks.store.storage import FileEntry
from tasks.store.tables import read_batches

EVALUATION = "evaluation.json"
EVALUATION_FORMAT = 2


class EvaluationDetails(Details):
    """The metrics of `tasks.evaluation.scores.score_pairs`; null if there are no references."""

    references: int
    bleu_1: float | None = None
    bleu_2: float | None = None
    bleu_3: float | None = None
    bleu_4: float | None = None
    rouge_l: float | None = None
    sacrebleu_zh: float | None = None
    exact_match: float | None = None
    sacrebleu_signature: str | None = None


def evaluate(
    plan: Plan, predictions: PurePath, entry: FileEntry, helpers: RowHelpers = ALONE
) -> EvaluationDetails:
    """Return the metrics of `predictions`, a table; all null if there are no references.

    `entry` is what was committed as `predictions`.
    They are kept as a checkpoint with the shards: a text of mixed scripts takes some 30 µs of CPU.

    Raises:
        StoreCorruptionError: `predictions` cannot be read.
        StorageError: the store cannot be written.
        WorkerError: a helper died.
    """
    if count_references(predictions) == 0:
        return EvaluationDetails(references=0)
    decided_by = {
        "stage": "evaluate",
        "format": EVALUATION_FORMAT,
        # Not the stage's fingerprint: a shard that is remade can reject other rows than before.
        "predictions": entry.sha256,
        **{name: find_version(name) for name in ("paddlenlp", "sacrebleu")},
        "unicode": unicodedata.unidata_version,
    }
    digest = fingerprint(decided_by)
    path = plan.predictions.folder / EVALUATION
    manifest = find_checkpoint(path, digest).manifest
    if manifest is None:
        scores = EvaluationDetails.model_validate(score_file(predictions, helpers))
        manifest = Manifest(
            kind="evaluation",
            fingerprint=digest,
            decided_by=decided_by,
            files=(),
            details=scores.as_dict(),
        )
        commit_manifest(path, manifest)
    return EvaluationDetails.of(manifest)


def count_references(predictions: PurePath) -> int:
    """Return the number of rows that have a reference.

    Raises:
        StoreCorruptionError: the file cannot be read.
    """
    batches = read_batches(predictions, ["reference"])
    return sum(pc.count(batch["reference"]).as_py() for batch in batches)
