"""The whole chain on one device after the other, and every question compared with the CPU's."""

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
from tasks.runs.results import PREDICTIONS_FILE
from tasks.store.tables import read_batches

CONFIG = ROOT / "configs/demo.yaml"
SHOWN = 5  # questions that differ


@dataclass(frozen=True)
class Run:
    """A run that ended well: its folder, what metrics.json holds, and the exported model."""

    folder: Path
    metrics: Mapping[str, Any]
    exported: Path


@dataclass(frozen=True)
class Chain:
    """Runs the demo's config with a model and passages, as a user does.

    Attributes:
        program: `wenti`, as a command.
        folder: where the store and the exports go.
        overrides: what all its runs have in common.
        is_trained: whether the model is: a random one has no favourite among its tokens, so that
            the last digit of a number may choose another.
    """

    program: Sequence[str]
    folder: Path
    overrides: tuple[str, ...] = ()
    is_trained: bool = True

    def elsewhere(self, name: str, *overrides: str) -> Chain:
        """Give the same chain with a store of its own."""
        return replace(self, folder=self.folder / name, overrides=(*self.overrides, *overrides))

    def settings(self, variant: Variant) -> list[str]:
        """Give what wins over the config, as `--set` takes it."""
        return [*self.overrides, *variant.overrides, f"store.path={self.folder / 'store'}"]

    def run(self, variant: Variant) -> Run:
        """Run it once.

        Raises:
            UnusableError: the config cannot be used on this machine, with the reasons.
            WorkerError: the run failed.
        """
        exported = self.folder / "exports" / variant.slug
        settings = [*self.settings(variant), f"export.inference_model_dir={exported}"]
        options = [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run(  # noqa: S603 our own program
            [*self.program, "run", str(CONFIG), "--json", *options],
            cwd=ROOT,  # the config's paths begin there
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
    """Run a variant and judge its questions by the reference's.

    Raises:
        UnusableError: this machine cannot run the variant.
        WorkerError: the run failed.
    """
    return judge_questions(name, chain.run(variant), reference, chain.is_trained, variant)


def judge_questions(
    name: str, run: Run, reference: Run, is_trained: bool, variant: Variant
) -> Check:
    """Say how many questions are the reference's, and whether these are enough."""
    found = compare_questions(run.folder, reference.folder)
    speed = {key: run.metrics[key] for key in ("rows_per_second", "stage_seconds", "bleu_4")}
    told = f"{100 * found['same_share']:.1f} % of {found['rows']} rows have the CPU's question"
    least = variant.least_same if is_trained else None
    if least is None:
        return Check(name, "told", told, found | speed)
    if found["same_share"] >= least:
        return Check(name, "passed", told, found | speed)
    return Check(name, "failed", f"{told}; wanted: {100 * least:.0f} %", found | speed)


def compare_questions(folder: Path, reference: Path) -> dict[str, Any]:
    """Compare every question of a run with that of another.

    Returns:
        `rows`; `same_share` of them with the same question; `largest_score_difference` among these,
        null if a run has no scores; `examples` of others.
    """
    pairs = pair_rows(read_rows(reference), read_rows(folder))
    kinds = Counter(pair.kind for pair in pairs)
    others = [(p.a.question, p.b.question) for p in pairs if p.a and p.b and p.kind is Kind.CHANGED]
    same = kinds[Kind.SAME] + kinds[Kind.REJECTED_IN_BOTH]
    return {
        "rows": len(pairs),
        "same_share": same / len(pairs) if pairs else 0.0,
        "largest_score_difference": _score_difference(folder, reference),
        "examples": others[:SHOWN],
    }


def _score_difference(a: Path, b: Path) -> float | None:
    """Give the largest difference of the scores of equal questions."""
    scores_a, scores_b = _read_scores(a), _read_scores(b)
    known = [abs(scores_a[key] - scores_b[key]) for key in scores_a.keys() & scores_b.keys()]
    return max(known, default=None)


def _read_scores(folder: Path) -> dict[tuple[int, str], float]:
    """Give the score of each row's question where the engine gave one."""
    return {
        (line["row"], line["question"]): line["score"]
        for batch in read_batches(folder / PREDICTIONS_FILE, ["row", "question", "score"])
        for line in batch.to_pylist()
        if line["score"] is not None
    }
