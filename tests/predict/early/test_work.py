"""What is made while rows are loaded is used or made again, and leaves no trace in the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tasks.config.loading import load_settings
from tasks.engine.fake import export_fake
from tasks.errors import InputError, WorkerError
from tasks.load import parts
from tasks.load.dataset import load_passages, make_request
from tasks.load.parts import StagedPart
from tasks.plan.plan import Plan, make_plan
from tasks.predict.early import work
from tasks.predict.early.work import EarlyWork
from tasks.predict.jobs import Selection, plan_jobs
from tasks.predict.progress import Progress
from tasks.predict.questions import Question
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.pool import WorkerPool
from tasks.runs.run import Run
from tasks.store.manifest import Manifest
from tests.support.in_process import InProcessRunner, Predicted, predict, write_passages
from tests.support.passage_rows import BAD, FIRST, NEW, check_equal, shuffled
from tests.support.rehearsal import ROOT

ROWS_PER_PART, ROWS_PER_SHARD = 12, 8
PATIENCE = 600.0

Hear = Callable[[StagedPart], None]


@pytest.fixture(autouse=True)
def _small_parts(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "ROWS_PER_PART", ROWS_PER_PART)


@dataclass
class FailingRunner(InProcessRunner):
    """A worker of which the first batch fails."""

    failures: list[int] = field(default_factory=lambda: [1])

    def run(self, positions: Sequence[int], seconds: float) -> list[list[Question]]:
        if self.failures:
            self.failures.pop()
            raise WorkerError("it was killed")
        return super().run(positions, seconds)


@dataclass
class Night:
    """A run that loads and predicts at the same time; its workers are in this process."""

    store: Path
    passages: Path
    monkeypatch: pytest.MonkeyPatch
    overrides: tuple[str, ...] = ()
    selection: Selection = field(default_factory=Selection)
    make_runner: type[InProcessRunner] = InProcessRunner
    workers: int = 1
    runners: list[InProcessRunner] = field(default_factory=list)
    ranges: int = 0

    def __post_init__(self) -> None:
        settings = load_settings(
            ROOT / "configs/demo.yaml",
            [
                f"store.path={self.store}",
                f"dataset.predict_file={self.passages}",
                "export.engine=fake",
                f"shards.rows_per_shard={ROWS_PER_SHARD}",
                "predict.batch_size=3",
                *self.overrides,
            ],
        )
        self.plan = make_plan(settings, ROOT / "data/checkpoint")
        folder = Path(self.plan.export.folder)
        if not folder.is_dir():
            folder.mkdir(parents=True)
            export_fake(self.plan.model_folder, settings.decode, folder)
        self.run = Run.start(self.plan)

    @property
    def generated(self) -> int:
        return sum(runner.generated for runner in self.runners)

    def make_workers(self, plan: Plan) -> list[InProcessRunner]:
        order = WorkerOrder.from_plan(plan, "cpu")
        self.runners = [self.make_runner(order) for _ in range(self.workers)]
        return self.runners

    def begin(self) -> EarlyWork:
        class CountingPool(WorkerPool):
            """Counts the ranges that were begun, and have ended."""

            def begin(pool, *asked: Any) -> None:  # noqa: ANN401, N805 self is the night
                super().begin(*asked)
                self.ranges += 1

        self.monkeypatch.setattr(work, "WorkerPool", CountingPool)
        self.monkeypatch.setattr(work, "make_local_workers", self.make_workers)
        early = EarlyWork(self.plan, self.run, self.selection, Progress())
        early.note_export()
        return early

    def load(self, early: EarlyWork, then: Hear = lambda _: None) -> Manifest:
        """Load the passages; wait after each part until all ranges that are there are generated."""
        rows = 0

        def tell(part: StagedPart) -> None:
            nonlocal rows
            rows += part.rows
            assert early.hear is not None
            early.hear(part)
            wait_until(lambda: self.ranges >= rows // ROWS_PER_SHARD or early._is_over)
            then(part)

        return load_passages(make_request(self.plan), tell=tell)

    def finish(self, early: EarlyWork, dataset: Manifest) -> Predicted:
        """Make the shards as the predict stage does."""
        with self.run.claims.beating(), early.handed_over(dataset) as pool:
            assert pool is not None, "no worker has started"
            made = [pool.generate(job, wait=True) for job in plan_jobs(self.plan, dataset)]
        manifests = [one.manifest for one in made if one is not None]
        return Predicted(self.plan, manifests, self.generated, 0)

    def find_early(self) -> list[Path]:
        """Return the manifests of what was made early."""
        own = self.plan.predictions.fingerprint
        pieces = self.store.glob("predictions/*/piece-*.json")
        return [path for path in pieces if path.parent.name != own]


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Night]:
    """A function that returns a night with these rows, or over a file."""

    def make(passages: Path | list[object], **more: object) -> Night:
        if not isinstance(passages, Path):
            passages = write_passages(tmp_path / "passages.jsonl", passages)  # type: ignore[arg-type]
        return Night(tmp_path / "store", passages, monkeypatch, **more)  # type: ignore[arg-type]

    return make


def files_of(found: Predicted) -> dict[str, bytes]:
    folder = Path(found.plan.predictions.folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


Make = Callable[..., Night]


REPEATED = [FIRST[n] if n % 3 == 0 else FIRST[n % 2] for n in range(20)] + FIRST[:20]


@pytest.mark.parametrize(("rows", "new"), [(FIRST, 32), (REPEATED, 15), ([BAD, *FIRST, BAD], 32)])
def test_shards_have_the_bytes_of_a_run_that_has_loaded_all_rows_before(
    night: Make, tmp_path: Path, rows: list[object], new: int
) -> None:
    one = night(rows)
    with one.begin() as early:
        dataset = one.load(early)
        before = one.generated
        found = one.finish(early, dataset)
    undisturbed = predict(tmp_path / "other", one.passages)
    assert files_of(found) == files_of(undisturbed)
    assert found.generated == undisturbed.generated
    assert before == new  # all full ranges of the full parts
    assert [path.name for path in (one.store / "predictions").iterdir()] == [
        one.plan.predictions.fingerprint
    ]


def test_several_workers_make_each_row_once(night: Make, tmp_path: Path) -> None:
    one = night(FIRST, workers=3)
    with one.begin() as early:
        found = one.finish(early, one.load(early))
    assert found.generated == len(FIRST)
    assert files_of(found) == files_of(predict(tmp_path / "other", one.passages))


def test_rows_that_the_store_knows_are_not_generated_early(night: Make, tmp_path: Path) -> None:
    predict(tmp_path / "store", write_passages(tmp_path / "before.jsonl", FIRST))
    one = night([*NEW[:2], *shuffled(FIRST), *NEW])
    with one.begin() as early:
        found = one.finish(early, one.load(early))
    assert found.generated == len(NEW)
    check_equal(found, predict(tmp_path / "other", one.passages))


def test_after_an_end_while_loading_only_what_is_missing_is_generated(
    night: Make, tmp_path: Path
) -> None:
    one = night(FIRST)

    def end(part: StagedPart) -> None:
        if part.entry.name.startswith("part-00001"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), one.begin() as early:
        one.load(early, end)
    done = one.generated
    assert done == 24
    assert not one.plan.dataset.is_there
    again = night(one.passages)
    with again.begin() as early:
        found = again.finish(early, again.load(early))
    assert found.generated == len(FIRST) - done
    assert files_of(found) == files_of(predict(tmp_path / "other", one.passages))
    assert again.find_early() == []


def test_a_run_that_loads_nothing_takes_over_what_was_made_early(
    night: Make, tmp_path: Path
) -> None:
    one = night(FIRST)
    with one.begin() as early:
        one.load(early)  # and then everything is killed
    found = predict(tmp_path / "store", one.passages)
    assert found.generated == len(FIRST) - one.generated == 8
    assert files_of(found) == files_of(predict(tmp_path / "other", one.passages))


def test_of_a_file_that_changes_while_it_is_read_nothing_wrong_is_used(
    night: Make, tmp_path: Path
) -> None:
    one = night(FIRST)
    changed = [*FIRST[:8], *shuffled(FIRST[8:]), *NEW]

    def change(_part: StagedPart) -> None:
        write_passages(one.passages, changed)

    with pytest.raises(InputError, match="changed while it was read"), one.begin() as early:
        one.load(early, change)
    assert one.generated > 0
    assert not one.plan.dataset.is_there
    found = predict(tmp_path / "store", one.passages)
    assert found.generated == len(changed) - 8  # the first range is as it was
    check_equal(found, predict(tmp_path / "other", one.passages))


def test_a_fault_of_a_worker_ends_what_is_done_early_and_nothing_else(
    night: Make, tmp_path: Path
) -> None:
    one = night(FIRST, make_runner=FailingRunner)
    with one.begin() as early:
        dataset = one.load(early)
        assert one.generated == 0
        found = one.finish(early, dataset)
    assert files_of(found) == files_of(predict(tmp_path / "other", one.passages))


def test_damage_to_what_was_made_early_is_found(night: Make, tmp_path: Path) -> None:
    one = night(FIRST)
    with one.begin() as early:
        dataset = one.load(early)
        for path in one.store.glob("predictions/*/piece-*.parquet"):
            path.write_bytes(path.read_bytes()[:-9] + b"x" * 9)
        found = one.finish(early, dataset)
    assert found.generated == len(FIRST) + 32
    assert files_of(found) == files_of(predict(tmp_path / "other", one.passages))


@pytest.mark.parametrize(
    "asked",
    [
        {"overrides": ("shards.reuse_rows=false",)},
        {"overrides": ("predict.executor=ray",)},
        {"selection": Selection(is_forced=True)},
        {"selection": Selection(frozenset({1}))},
    ],
)
def test_nothing_is_done_early_where_rows_must_be_made_otherwise(
    night: Make, asked: dict[str, object]
) -> None:
    one = night(FIRST, **asked)
    with one.begin() as early:
        assert early.hear is None
        dataset = load_passages(make_request(one.plan))
        with early.handed_over(dataset) as pool:
            assert pool is None
    assert one.runners == []


def test_no_worker_starts_before_a_shard_is_loaded_and_the_export_is_there(
    night: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = night(FIRST[:11])
    with small.begin() as early:
        load_passages(make_request(small.plan), tell=early.hear)
    assert small.runners == []
    monkeypatch.setattr(EarlyWork, "note_export", lambda _self: None)
    unexported = night(FIRST)
    with unexported.begin() as early:
        dataset = load_passages(make_request(unexported.plan), tell=early.hear)
        with early.handed_over(dataset) as pool:
            assert pool is None
    assert unexported.runners == []
