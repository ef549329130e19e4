"""What `wenti init` writes is read back by what reads it in a run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import yaml

from flows.deployments.entries import DeploymentEntry
from tasks.config.loading import find_config, load_settings
from tasks.doctor.preflight import find_config_faults
from tasks.errors import ConfigError, InputError, PreflightError, StorageError
from tasks.scaffold.job import Job, plan_job
from tests.support.commands import wenti
from tests.support.rehearsal import ROOT

DAY = date(2026, 11, 23)
MODEL = str(ROOT / "data/checkpoint")
ROWS: Sequence[Mapping[str, object]] = (
    {"编号": 7, "段落": "泰山位于山东省。", "答案": "山东省", "问题": "泰山在哪里？"},
    {"编号": 8, "段落": "泰山位于山东省。", "答案": " ", "问题": "泰山在哪里？"},
    {"编号": 9, "段落": None, "答案": "山东省", "问题": "泰山在哪里？"},
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder outside the clone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan(name: str = "mine", data: str | None = None, model: str | None = MODEL) -> Job:
    return plan_job(name, data, model, DAY)


def test_the_written_files_are_those_of_a_job_that_can_run(place: Path) -> None:
    pd.DataFrame(ROWS).to_parquet("数据.parquet")
    job = plan(data="数据.parquet")
    assert job.write() == [Path("configs/mine.yaml"), Path("prefect.yaml")]
    assert find_config("mine") == Path("configs/mine.yaml")
    settings = load_settings(find_config("mine"))
    assert settings == job.settings
    assert settings.dataset.fields is not None
    assert settings.dataset.fields.model_dump() == {
        "context": "段落",
        "answer": "答案",
        "reference": "问题",
        "id": "编号",
    }
    assert find_config_faults(settings) == []
    checked = wenti("doctor", cwd=place)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "mine: 30 1 * * * (Asia/Shanghai), paused" in checked.stdout


def test_without_anything_given_the_config_has_the_defaults(place: Path) -> None:
    plan(model=None).write()
    values = yaml.safe_load(Path("configs/mine.yaml").read_bytes())
    assert values["dataset"].pop("predict_file") == "passages.jsonl"
    defaults = load_settings(ROOT / "configs/dureader_qg.yaml").as_dict()
    for section, keys in values.items():
        for key in keys.keys() - {"device", "cpu_threads"}:
            assert keys[key] == defaults[section][key]


def test_the_first_thousand_rows_are_counted_by_the_reason_of_their_rejection(place: Path) -> None:
    rows = [{"passage": "a b", "ans": "a"}, {"passage": "a b"}, {"passage": "a b", "ans": ""}] * 400
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sample = plan(data="rows.jsonl").sample
    assert sample is not None
    assert (sample.rows, sample.reasons) == (1000, {"missing_field": 333, "empty_field": 333})
    told = sample.describe_rejects()
    assert told.startswith("of the first 1000, 666 would be rejected: empty_field 333, missing_")
    assert "such as row 1, line 2: missing_field: `ans` is missing" in told


def test_fields_that_need_no_name_get_none_but_others_do(place: Path) -> None:
    rows = [{"context": "a b", "answer": "a", "id": "x", "ref": "what?"}]
    Path("rows.json").write_text(json.dumps(rows))
    sample = plan(data="rows.json").sample
    assert sample is not None
    assert sample.fields == {"reference": "ref"}
    assert sample.describe_rejects() == "of 1, none would be rejected"
    Path("rows.json").write_text(json.dumps([{"context": "a b", "answer": "a"}]))
    assert plan(data="rows.json").settings.dataset.fields is None


@pytest.mark.parametrize("encoding", ["gb18030", "big5", "utf-8-sig", "utf-16"])
def test_the_encoding_of_the_data_is_proposed_where_the_file_does_not_show_it(
    place: Path, encoding: str
) -> None:
    line = "泰山位於山東省中部，是中國的名山。,山東省\n"
    Path("rows.csv").write_text(f"段落,答案\n{line * 5}", encoding=encoding)
    job = plan(data="rows.csv")
    job.write()
    assert job.sample is not None
    assert (job.sample.rows, job.sample.reasons) == (5, {})
    settings = load_settings(Path("configs/mine.yaml"))
    assert settings.dataset.encoding == (encoding if encoding in {"gb18030", "big5"} else None)
    assert find_config_faults(settings) == []


def test_fields_that_are_not_recognized_are_left_to_the_user(place: Path) -> None:
    Path("rows.csv").write_text("spam,eggs\na,b\n")
    job = plan(data="rows.csv")
    job.write()
    text = Path("configs/mine.yaml").read_text()
    assert "# It has the fields [spam, eggs]; name those that are meant:\n  # fields: {" in text
    assert load_settings(Path("configs/mine.yaml")).dataset.fields is None


def test_the_day_in_a_path_is_kept_and_the_file_of_today_is_looked_at(place: Path) -> None:
    Path("2026-11-22.csv").write_text("context,answer\na b,a\n")
    job = plan(data="{date-1}.csv")
    assert job.settings.dataset.predict_file == "{date-1}.csv"
    assert job.sample is not None
    assert job.sample.rows == 1


def test_a_folder_in_which_no_file_can_be_made_is_told(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with monkeypatch.context() as there:  # or the disk could not be unmounted
        there.chdir(small_disk)
        with pytest.raises(StorageError, match="read-only; start `wenti init` in a folder") as told:
            plan()
    assert "store.path" not in str(told.value)


def test_nothing_is_overwritten_and_nothing_half_written(place: Path) -> None:
    Path("prefect.yaml").write_text("mine")
    assert plan().write() == [Path("configs/mine.yaml")]
    assert Path("prefect.yaml").read_text() == "mine"
    with pytest.raises(InputError, match=r"configs/mine\.yaml exists"):
        plan()
    wrong = {
        "other/mine": {},
        "-x": {},
        "mine.yaml": {},
        "rerun": {},
        "a": {"data": "nowhere.csv"},
        "b": {"model": "./nowhere"},
        "c": {"data": "x\0y"},
    }
    for name, options in wrong.items():
        with pytest.raises((InputError, PreflightError, ConfigError)):
            plan(name, **options)
    assert sorted(map(str, place.rglob("*.yaml"))) == [
        str(place / "configs/mine.yaml"),
        str(place / "prefect.yaml"),
    ]


@pytest.mark.parametrize("name", ["123", "true", "夜间", "a.b-c_d"])
def test_a_name_is_written_so_that_it_stays_a_name(place: Path, name: str) -> None:
    plan(name).write()
    (mine, _rerun) = yaml.safe_load(Path("prefect.yaml").read_bytes())["deployments"]
    entry = DeploymentEntry.model_validate(mine)
    assert (entry.name, entry.parameters) == (name, {"config": name})


def test_rows_are_not_longer_than_the_positions_of_the_model(place: Path) -> None:
    config = json.loads((ROOT / "data/checkpoint/config.json").read_bytes())
    for path in (ROOT / "data/checkpoint").iterdir():
        (place / "model").mkdir(exist_ok=True)
        (place / "model" / path.name).write_bytes(path.read_bytes())
    config["max_position_embeddings"] = 64
    (place / "model/config.json").write_text(json.dumps(config))
    assert plan(model="model").settings.dataset.max_seq_len == 65
