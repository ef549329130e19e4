from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.errors import InputError
from tasks.export.build import make_export
from tasks.plan.plan import make_plan
from tasks.preview.dry_run import REUSED, TO_MAKE, find_dry_run
from tasks.runs.results import METRICS_FILE, RUN_FILE
from tests.support.in_process import predict, write_passages
from tests.support.rehearsal import ROOT
from tests.support.run_records import least_record

ROWS = [
    {"context": f"泰山{row}在山东。", "answer": "山东" if row % 10 else " "} for row in range(40)
]
OPTIONS = ("shards.rows_per_shard=8", "predict.batch_size=3", "export.engine=fake")


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    """Forty rows, every tenth of which is rejected."""
    return write_passages(tmp_path / "rows.jsonl", ROWS)


def settings_of(store: Path, passages: Path, *overrides: str) -> Settings:
    places = (f"store.path={store}", f"dataset.predict_file={passages}")
    model = f"model.model_name_or_path={ROOT / 'data/checkpoint'}"
    return load_settings(ROOT / "configs/demo.yaml", [*places, model, *OPTIONS, *overrides])


def record_run(store: Path, settings: Settings, run_id: str, **metrics: float | None) -> None:
    """Write what `find_dry_run` reads of a run of these settings."""
    plan = make_plan(settings, ROOT / "data/checkpoint")
    record = {**least_record(), "run_id": run_id, "config": settings.as_dict()}
    folder = store / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / RUN_FILE).write_text(json.dumps({**record, "export": plan.export.fingerprint}))
    (folder / METRICS_FILE).write_text(json.dumps({"rows_made": 30, **metrics}))


def tree(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_before_anything_is_made_the_rows_are_counted_by_reading_and_nothing_is_written(
    tmp_path: Path, passages: Path
) -> None:
    before = tree(tmp_path)
    found = find_dry_run(settings_of(tmp_path / "store", passages))
    assert tree(tmp_path) == before
    assert (found.export, found.load) == (TO_MAKE, TO_MAKE)
    assert found.rows is not None
    assert (found.rows.rows_in, found.rows.reject_reasons) == (40, {"empty_field": 4})
    assert (found.shards_planned, found.shards_reused, found.rows_to_make) == (5, 0, 36)
    assert (found.speed, found.seconds) == (None, None)
    assert found.as_dict()["rows"]["rejects"] == 4
    json.dumps(found.as_dict())


def test_a_limit_counts_the_first_usable_rows_and_the_rejects_among_them(
    tmp_path: Path, passages: Path
) -> None:
    found = find_dry_run(settings_of(tmp_path / "store", passages, "dataset.limit=10"))
    assert found.rows is not None
    assert (found.rows.rows_in, found.rows.rejects, found.rows_to_make) == (12, 2, 10)


def test_what_the_store_has_is_reused_and_the_rest_takes_as_long_as_in_the_last_run(
    tmp_path: Path, passages: Path
) -> None:
    store = tmp_path / "store"
    made = predict(store, passages)
    settings = settings_of(store, passages)
    found = find_dry_run(settings)
    assert (found.load, found.rows_to_make, found.seconds) == (REUSED, 0, 0.0)
    assert (found.shards_planned, found.shards_reused) == (5, 5)
    for index in (1, 4):
        manifest = made.plan.predictions.folder / f"shard-{index:05d}-of-00005.json"
        Path(manifest).unlink()
    record_run(store, settings, "20261123-010000-aaaaaa", rows_per_second=9.0)
    record_run(store, settings, "20261123-020000-aaaaaa", rows_per_second=2.0)
    other = settings_of(store, passages, "predict.cpu_threads=1")
    record_run(store, other, "20261123-030000-aaaaaa", rows_per_second=1.0)
    record_run(store, settings, "20261123-040000-aaaaaa", rows_per_second=None)
    before = tree(store)
    found = find_dry_run(settings)
    assert tree(store) == before
    assert (found.shards_reused, found.rows_to_make) == (3, 8 + 4)
    assert found.speed is not None
    assert (found.speed.run_id, found.speed.rows) == ("20261123-020000-aaaaaa", 30)
    assert found.seconds == 6.0
    with pytest.raises(InputError, match=r"aggregate.group_by.*: city; kept are: none"):
        find_dry_run(settings_of(store, passages, "aggregate.group_by=[city]"))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_columns_that_are_to_divide_rows_are_looked_for_in_passages_that_are_new(
    tmp_path: Path, suffix: str
) -> None:
    rows = [{**row, "source": "wiki", "part": at / 2} for at, row in enumerate(ROWS)]
    passages = write_passages(tmp_path / "rows.jsonl", rows)
    if suffix == ".parquet":
        passages = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), passages)
    store, keep = tmp_path / "store", "dataset.keep_columns=all"
    before = tree(tmp_path)

    def look(by: str, keep: str = keep) -> int | None:
        found = find_dry_run(settings_of(store, passages, keep, f"aggregate.group_by=[{by}]"))
        return found.rows_to_make

    assert look("source") == 36
    assert look("source", "dataset.keep_columns=[source, gone]") == 36
    with pytest.raises(InputError, match=r"aggregate.group_by.*: city; kept are: source, part"):
        look("city")
    with pytest.raises(InputError, match=r"aggregate.group_by.*`part` has fractions"):
        look("part")
    assert tree(tmp_path) == before


def test_without_such_a_run_the_speed_is_measured_if_the_export_is_there(
    tmp_path: Path, passages: Path
) -> None:
    store = tmp_path / "store"
    settings = settings_of(store, passages, "predict.devices=[cpu, cpu]", "predict.batch_size=4")
    make_export(make_plan(settings, ROOT / "data/checkpoint"))
    before = tree(store)
    found = find_dry_run(settings)
    assert tree(store) == before
    assert (found.export, found.load, found.unmeasured) == (REUSED, TO_MAKE, "")
    assert found.speed is not None
    # The rows of eight batches, but for the first batch, which warms up.
    assert (found.speed.run_id, found.speed.rows) == (None, 7 * 4)
    assert found.seconds == pytest.approx(36 / found.speed.rows_per_second)


def test_a_device_that_fails_is_told_instead_of_a_time(
    tmp_path: Path, passages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    settings = settings_of(store, passages)
    make_export(make_plan(settings, ROOT / "data/checkpoint"))
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"padded_tokens_that_fit": 1}))
    monkeypatch.setenv("WENTI_FAKE_FAULTS", str(faults))
    found = find_dry_run(settings)
    assert (found.speed, found.seconds) == (None, None)
    assert "OutOfMemory" in found.unmeasured


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("dataset.max_rejected=0.09", "4 of 40 rows .* rejected: empty_field 4.*max_rejected"),
        ("dataset.on_bad_row=fail", "row 0, line 1: empty_field"),
        ("dataset.fields={context: answer, answer: nothing}", "no `nothing`"),
    ],
)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_run_that_would_fail_for_its_rows_fails_dry_too(
    tmp_path: Path, passages: Path, override: str, words: str, is_loaded: bool
) -> None:
    if is_loaded:
        predict(tmp_path / "store", passages)
    with pytest.raises(InputError, match=words):
        find_dry_run(settings_of(tmp_path / "store", passages, override))


def test_rows_that_are_not_downloaded_are_not_known(tmp_path: Path) -> None:
    named = "dataset.predict_file=null"
    found = find_dry_run(settings_of(tmp_path, tmp_path, named))
    assert (found.rows, found.shards_planned, found.rows_to_make) == (None, None, None)
    model = "model.model_name_or_path=unimo-text-1.0-dureader_qg"
    found = find_dry_run(settings_of(tmp_path, tmp_path, named, model))
    assert (found.export, found.rows, found.seconds) == (TO_MAKE, None, None)
