"""What is checked and logged before a run, and what is logged of its passages."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flows.prepare import check_settings, prepared
from tasks.addresses import ObjectPlace
from tasks.config.loading import load_settings
from tasks.errors import PreflightError, StorageError
from tasks.load.task import load_dataset
from tasks.store.claims import Claims
from tasks.store.objects.files import ObjectFiles
from tests.support.object_stores import use_memory
from tests.support.rehearsal import ROOT

ROWS = 'context,answer,source,title\n"甲,乙,丙,丁\n戊",己,庚,辛\n"壬\n癸",子,丑,寅\n卯,辰,巳,午\n'


def test_the_fields_that_are_read_and_rows_of_several_lines_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    passages = tmp_path / "passages.csv"
    passages.write_text(ROWS, encoding="utf-8")
    asked = [
        f"model.model_name_or_path={ROOT / 'data/checkpoint'}",
        f"dataset.predict_file={passages}",
        f"store.path={tmp_path / 'store'}",
        "export.engine=fake",
    ]
    caplog.set_level(logging.INFO, "wenti")
    settings = load_settings(ROOT / "configs/demo.yaml", asked)
    for _made_then_reused in range(2):
        caplog.clear()
        with (
            prepared(settings) as plan,
            Claims(plan.store.claims_folder).beating() as claims,
        ):
            load_dataset(plan, claims)
        warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
        choice, _fake, lines = warnings
        assert "context from `context`, answer from `answer`, although it has `source`" in choice
        assert "several lines: 2 (lines 2 to 3, 4 to 5)" in lines
    named = load_settings(ROOT / "configs/demo.yaml", [*asked, "dataset.fields.answer=title"])
    caplog.clear()
    with prepared(named):
        assert "passages: context from `context`, answer from `title`" in caplog.text


def test_what_is_wrong_with_addresses_is_told_at_once_and_a_dry_run_tries_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = use_memory(tmp_path, monkeypatch).parent
    asked = [
        f"model.model_name_or_path={ROOT / 'data/checkpoint'}",
        f"dataset.predict_file={folder / 'in/*.jsonl'}",
        f"aggregate.output_path={folder / 'q.txt'}",
        f"aggregate.output_folder={folder / 'out'}",
        f"store.path={tmp_path / 'store'}",
        "export.engine=fake",
    ]
    settings = load_settings(ROOT / "configs/demo.yaml", asked)
    tried = list[ObjectPlace]()

    def refuse(_self: ObjectFiles, probe: ObjectPlace) -> None:
        tried.append(probe)
        raise StorageError(f"cannot write {probe}: permission denied")

    monkeypatch.setattr(ObjectFiles, "check_writable", refuse)
    with pytest.raises(PreflightError) as caught:
        check_settings(settings)
    assert [one.key for one in caught.value.faults] == [
        "dataset.predict_file",
        "aggregate.output_path",
        "aggregate.output_folder",
    ]
    assert len(tried) == 2
    with pytest.raises(PreflightError) as caught:
        check_settings(settings, delivers=False)
    assert [one.key for one in caught.value.faults] == ["dataset.predict_file"]
    assert len(tried) == 2
