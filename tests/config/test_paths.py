from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tasks.config.paths import with_absolute_paths, with_date
from tasks.config.settings import (
    AggregateSettings,
    DatasetSettings,
    ExportSettings,
    ModelSettings,
    Settings,
    StoreSettings,
)
from tasks.errors import ConfigError


def test_the_day_stands_in_every_path_that_names_it_and_nowhere_else() -> None:
    settings = Settings(
        store=StoreSettings(path="stores/{date}", url="http://files/{date}"),
        model=ModelSettings(model_name_or_path="./models/{date}"),
        dataset=DatasetSettings(predict_file="data/{date}/{name}.jsonl", dataset_name="{date}"),
        export=ExportSettings(inference_model_dir="out/{date:%Y/%m/%d}"),
        aggregate=AggregateSettings(output_path="out/{date-1:%Y%m%d}.txt"),
    )
    dated = with_date(settings, date(2026, 3, 7))
    assert dated.store.path == "stores/2026-03-07"
    assert dated.store.url == "http://files/2026-03-07"
    assert dated.model.model_name_or_path == "./models/2026-03-07"
    assert dated.dataset.predict_file == "data/2026-03-07/{name}.jsonl"
    assert dated.dataset.dataset_name == "{date}"
    assert dated.export.inference_model_dir == "out/2026/03/07"
    assert dated.aggregate.output_path == "out/20260306.txt"


def test_a_model_folder_of_the_day_need_not_exist_beside_others() -> None:
    settings = Settings(model=ModelSettings(model_name_or_path="models/{date:%Y/%m}"))
    assert with_date(settings, date(2026, 3, 7)).model.model_name_or_path == "models/2026/03"


def test_a_day_outside_the_calendar_is_a_fault() -> None:
    settings = Settings(dataset=DatasetSettings(predict_file="{date-1}.jsonl"))
    with pytest.raises(ConfigError, match="the calendar ends before the day that is meant"):
        with_date(settings, date.min)


def test_a_path_without_a_day_stays_as_it_is() -> None:
    assert with_date(Settings(), date(2026, 3, 7)) == Settings()


def test_absolute_paths_are_those_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(dataset=DatasetSettings(predict_file="passages.jsonl"))
    absolute = with_absolute_paths(settings)
    assert absolute.dataset.predict_file == str(tmp_path / "passages.jsonl")
    assert absolute.store.path == str(tmp_path / "wenti-store")
    assert absolute.model.model_name_or_path == "unimo-text-1.0-dureader_qg"


def test_each_path_of_a_list_is_dated_and_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = DatasetSettings(predict_file=["{date}/*.jsonl", "/x/{date-1}"])
    dated = with_date(Settings(dataset=given), date(2026, 3, 7))
    absolute = with_absolute_paths(dated).dataset
    assert absolute.predict_file == [str(tmp_path / "2026-03-07/*.jsonl"), "/x/2026-03-06"]
    assert absolute.file == (tmp_path / "2026-03-07/*.jsonl", Path("/x/2026-03-06"))
