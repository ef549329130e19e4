"""Runs of the whole chain, and the comparison of their questions with those of the CPU."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.acceptance.checks import Check
from tasks.acceptance.variants import Variant
from tasks.bench.contenders.contender import ROOT
from tasks.errors import UnusableError, WentiError, WorkerError
from tasks.operations.compare import read_rows
from tasks.operations.pairing import Kind, pair_rows
from tasks.runs.results import find_predictions
from tasks.store.tables import read_batches

CONFIG = ROOT / "configs/demo.yaml"
MAX_EXAMPLES = 5  # of questions that differ


@dataclass(frozen=True)
class Run:
    """A successful run: its folder, the content of metrics.json, the folder of its export."""

    folder: Path
    metrics: Mapping[str, Any]
    exported: Path


@dataclass(frozen=True)
class Chain:
    """Runs the demo config with a model and passages through the command line, as a user does.

    Attributes:
        program: the command `wenti`.
        folder: for the store and the exports.
        overrides: `section.key=value` for all runs.
        is_trained: whether the model is trained. The tokens of a random model are almost equally
            likely, so rounding may change its questions.
    """

    program: Sequence[str]
    folder: Path
    overrides: tuple[str, ...] = ()
    is_trained: bool = True

    def elsewhere(self, name: str, *overrides: str) -> Chain:
        """Return the same chain with another store and more overrides."""
        return replace(self, folder=self.folder / name, overrides=(*self.overrides, *overrides))

    def settings(self, variant: Variant) -> list[str]:
        """Return all overrides for a variant, in the form of `--set`."""
        return [*self.overrides, *variant.overrides, f"store.path={self.folder / 'store'}"]

    def run(self, variant: Variant) -> Run:
        """Run the chain once.

        Raises:
            UnusableError: the config cannot be used on this machine; the message says why.
            WorkerError: the run failed.
        """
        exported = self.folder / "exports" / variant.slug
        settings = [*self.settings(variant), f"export.inference_model_dir={exported}"]
        options = [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run(  # noqa: S603 our own program
            [*self.program, "run", str(CONFIG), "--json", *options],
            cwd=ROOT,  # the config's paths are relative to it
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise _as_error(done)
        result = json.loads(done.stdout)
        return Run(ROOT / result["folder"], result["metrics"], exported)


def _as_error(done: subprocess.CompletedProcess[str]) -> WentiError:
    message = done.stderr.rpartition("wenti: ")[2].strip()
    if done.returncode == UnusableError.exit_code:
        return UnusableError(message)
    return WorkerError(f"the run ended with exit code {done.returncode}: {message}")


def check_questions(name: str, chain: Chain, variant: Variant, reference: Run) -> Check:
    """Run a variant and compare its questions with those of the reference.

    Raises:
        UnusableError: this machine cannot run the variant.
        WorkerError: the run failed.
    """
    return judge_questions(name, chain.run(variant), reference, chain.is_trained, variant)


def judge_questions(
    name: str, run: Run, reference: Run, is_trained: bool, variant: Variant
) -> Check:
    """Return a check that compares the questions of two runs.

    It is `passed` or `failed` if the model is trained and the variant has a `least_same`, otherwise
    `told`.
    """
    comparison = compare_questions(run.folder, reference.folder)
    speed = {key: run.metrics[key] for key in ("rows_per_second", "stage_seconds", "bleu_4")}
    figures, share = comparison | speed, comparison["same_share"]
    message = f"{100 * share:.1f} % of {comparison['rows']} rows have the same question as the CPU"
    least = variant.least_same if is_trained else None
    if least is None:
        return Check(name, "told", message, figures)
    if share >= least:
        return Check(name, "passed", message, figures)
    return Check(name, "failed", f"{message}; required: {100 * least:.0f} %", figures)


def compare_questions(folder: Path, reference: Path) -> dict[str, Any]:
    """Compare the questions of a run with those of a reference, row by row.

    Returns:
        `rows`: their number. `same_share`: share of rows with the same question, or rejected in
        both. `largest_score_difference`: among rows with the same question, None if a run has no
        scores. `examples`: up to `MAX_EXAMPLES` pairs of different questions, reference first.

    Raises:
        StoreCorruptionError: the predictions or rejects cannot be read.
    """
    pairs = pair_rows(read_rows(reference), read_rows(folder))
    kinds = Counter(pair.kind for pair in pairs)
    others = [(p.a.question, p.b.question) for p in pairs if p.a and p.b and p.kind is Kind.CHANGED]
    same = kinds[Kind.SAME] + kinds[Kind.REJECTED_IN_BOTH]
    return {
        "rows": len(pairs),
        "same_share": same / len(pairs) if pairs else 0.0,
        "largest_score_difference": _score_difference(folder, reference),
        "examples": others[:MAX_EXAMPLES],
    }


def _score_difference(a: Path, b: Path) -> float | None:
    """Return the largest score difference of equal questions, or None without scores."""
    scores_a, scores_b = _read_scores(a), _read_scores(b)
    known = [abs(scores_a[key] - scores_b[key]) for key in scores_a.keys() & scores_b.keys()]
    return max(known, default=None)


def _read_scores(folder: Path) -> dict[tuple[int, str], float]:
    """Return scores by row and question, for questions with a score."""
    return {
        (line["row"], line["question"]): line["score"]
        for batch in read_batches(find_predictions(folder), ["row", "question", "score"])
        for line in batch.to_pylist()
        if line["score"] is not None
    }
