"""What a config asks for besides the results of every run: questions.parquet, a data set."""

import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.aggregate.deliver import deliver, write_questions
from tasks.aggregate.partial import Missing
from tasks.columns.divide import check_partitions
from tasks.columns.store import COLUMNS_FILE, ColumnsDetails
from tasks.errors import InputError
from tasks.runs.run import Run
from tasks.store.tables import PREDICTIONS, commit_table
from tests.support.finished_runs import prediction
from tests.support.planned_jobs import plan_job, write_job

SCHEMA = PREDICTIONS.append(pa.field("dt", pa.string()))
ROWS = [
    prediction(row, dt=f"2026-11-0{1 + row % 2}", alternatives=[{"question": "另", "score": -9.0}])
    for row in range(4)
]


@dataclass(frozen=True)
class Lacking(Missing):
    """A result that lacks rows."""

    @property
    def is_partial(self) -> bool:
        return True


WHOLE = Missing()


def finish(job: Path, *overrides: str, missing: Missing = WHOLE) -> Path:
    """Write what a run with these predictions delivers; return the run's folder."""
    plan = plan_job(job, f"store.path={job / 'store'}", *overrides)
    run = Run.start(plan)
    batches = [pa.RecordBatch.from_pylist(ROWS[at : at + 2], SCHEMA) for at in (0, 2)]
    commit_table(run.folder / "predictions.parquet", SCHEMA, batches)
    write_questions(plan, run)
    deliver(plan, run, len(ROWS), missing)
    return Path(run.folder)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path)


def test_nothing_is_written_that_is_not_asked_for(job: Path) -> None:
    names = {path.name for path in finish(job).iterdir()}
    assert names == {"config.yaml", "run.json", "predictions.parquet"}


def test_a_data_set_has_the_rows_of_the_predictions(job: Path) -> None:
    folder = job / "out/2026-11-28"
    asked = f"aggregate.output_folder={folder}"
    run = finish(job, asked)
    (path,) = folder.glob("*.parquet")
    expected = pq.read_table(run / "predictions.parquet")
    assert pq.read_table(path).equals(expected, check_metadata=True)
    finish(job, asked, "aggregate.partition_by=[dt]")
    assert sorted(one.name for one in folder.iterdir()) == [
        "_SUCCESS",
        "dt=2026-11-01",
        "dt=2026-11-02",
    ]
    assert pq.read_table(folder / "dt=2026-11-02")["row"].to_pylist() == [1, 3]
    assert json.loads((folder / "_SUCCESS").read_text())["rows"] == 4


def test_questions_are_rows_of_a_file_and_of_the_data_set(job: Path) -> None:
    folder = job / "out"
    overrides = (f"aggregate.output_folder={folder}", "aggregate.one_row_per_question=true")
    run = finish(job, *overrides)
    questions = pq.read_table(run / "questions.parquet")
    assert questions["row"].to_pylist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert questions["question_rank"].to_pylist() == [1, 2] * 4
    assert pq.read_table(folder).equals(questions)
    assert pq.read_metadata(run / "predictions.parquet").num_rows == 4


def test_a_partial_data_set_does_not_look_complete(job: Path) -> None:
    finish(job, f"aggregate.output_folder={job / 'out'}", missing=Lacking())
    assert {path.suffix or path.name for path in (job / "out").iterdir()} == {
        ".parquet",
        "_PARTIAL",
    }
    assert "remedy" in json.loads((job / "out/_PARTIAL").read_text())


COLUMNS = pa.table(
    {
        "dt": ["2026-11-01", "2026-11-02"],
        "day": [date(2026, 1, 1), None],
        "share": [0.5, 1.0],
        "long": ["长" * 90, ""],
        "price": [Decimal("1.5"), None],
        "at": [datetime(2026, 1, 1, 9), None],
        "tags": [["a"], None],
        "picture": [b"\x00", None],
    }
)


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        (["dt"], None),
        (["day", "dt"], None),
        (["city", "dt", "age"], "is kept: city, age; kept are: dt, day, share, long"),
        (["dt", "share"], "the column `share` has fractions; give columns of text"),
        (["price"], "has fractions"),
        (["at"], "has times"),
        (["tags"], "has lists or objects"),
        (["picture"], "has values of another kind"),
        (["long"], "a value is too long for the name of a folder"),
    ],
)
def test_columns_that_cannot_divide_are_told_before_anything_is_predicted(
    tmp_path: Path, columns: list[str], fault: str | None
) -> None:
    pq.write_table(COLUMNS, tmp_path / COLUMNS_FILE, write_page_checksum=True)
    details = ColumnsDetails(rows=2, names=COLUMNS.schema.names, missing=[])
    if fault is None:
        check_partitions(columns, tmp_path, details)
        return
    with pytest.raises(InputError, match=fault):
        check_partitions(columns, tmp_path, details)


def test_too_many_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(COLUMNS, tmp_path / COLUMNS_FILE, write_page_checksum=True)
    details = ColumnsDetails(rows=2, names=COLUMNS.schema.names, missing=[])
    monkeypatch.setattr("tasks.columns.divide.MOST_PARTITIONS", 1)
    with pytest.raises(InputError, match="more than 1 folders"):
        check_partitions(["dt"], tmp_path, details)
    check_partitions([], tmp_path, details)
