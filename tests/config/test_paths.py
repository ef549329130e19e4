from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from tasks.config.paths import with_absolute_paths, with_date
from tasks.config.settings import DatasetSettings, ModelSettings, Settings, StoreSettings


def test_the_day_stands_in_every_path_that_names_it_and_nowhere_else() -> None:
    settings = Settings(
        store=StoreSettings(path="stores/{date}"),
        model=ModelSettings(model_name_or_path="./models/{date}"),
        dataset=DatasetSettings(predict_file="data/{date}/{name}.jsonl", dataset_name="{date}"),
    )
    dated = with_date(settings, date(2026, 3, 7))
    assert dated.store.path == "stores/2026-03-07"
    assert dated.model.model_name_or_path == "./models/2026-03-07"
    assert dated.dataset.predict_file == "data/2026-03-07/{name}.jsonl"
    assert dated.dataset.dataset_name == "{date}"


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
