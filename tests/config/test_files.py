from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tasks.config.loading import load_settings
from tasks.config.settings import Settings
from tasks.errors import ConfigError


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files; return the first."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / next(iter(files))


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides)
    return str(caught.value)


def test_a_config_starts_from_the_file_that_it_extends_and_replaces_key_by_key(
    tmp_path: Path,
) -> None:
    files = {
        "jobs/mine.yaml": "extends: ../team.yaml\ndecode: {num_beams: 3}\n"
        "dataset: {fields: {answer: ans}}\nexport: {decoding_lib: null}",
        "team.yaml": "extends: base/all.yaml\ndecode: {num_beams: 4, topk: 7}\n"
        "dataset: {fields: {context: passage}}",
        "base/all.yaml": "decode: {num_beams: 5, max_dec_len: 30}\n"
        "export: {decoding_lib: x.so}\npredict: {device: cpu}",
    }
    settings = load_settings(write(tmp_path, files), ["decode.topk=8"])
    expected = {
        "decode": {"num_beams": 3, "topk": 8, "max_dec_len": 30},
        "dataset": {"fields": {"context": "passage", "answer": "ans"}},
        "predict": {"device": "cpu"},
    }
    assert settings == Settings.model_validate(expected)


def test_what_a_run_keeps_of_a_config_is_complete(tmp_path: Path) -> None:
    files = {"mine.yaml": "extends: base.yaml", "base.yaml": "decode: {num_beams: 5}"}
    settings = load_settings(write(tmp_path, files))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings.as_dict()))
    (tmp_path / "base.yaml").unlink()
    assert load_settings(tmp_path / "config.yaml") == settings


def test_what_is_no_section_in_the_base_is_a_fault_though_the_config_has_that_section(
    tmp_path: Path,
) -> None:
    files = {
        "mine.yaml": "extends: base.yaml\ndataset: {template: 1}\ndecode: {topk: 3}",
        "base.yaml": "dataset: 3\ndecode:",
    }
    told = complaint(write(tmp_path, files)).splitlines()
    assert len(told) == 2
    assert f"dataset: 3 (int) is not a section (in {tmp_path / 'base.yaml'})" in told[1]


@pytest.mark.parametrize("override", ["extends=b.yaml", "extends.x=b.yaml"])
def test_extends_is_no_key_that_can_be_set(tmp_path: Path, override: str) -> None:
    told = complaint(write(tmp_path, {"mine.yaml": ""}), override)
    assert "write it in the first line of a config file" in told


def test_a_fault_names_the_file_in_which_the_key_stands(tmp_path: Path) -> None:
    files = {
        "mine.yaml": "extends: base.yaml\ndecode: {topk: -1}",
        "base.yaml": "decode: {num_beam: 4, topp: 3, topk: -2}\nstores: {path: x}\npredict: 3",
    }
    path = write(tmp_path, files)
    base = f"(in {tmp_path / 'base.yaml'})"
    told = complaint(path, "decode.temperature=-1").splitlines()
    assert told[0].startswith(f"{path} cannot be used (6 faults)")
    by_key = {line.split(": ")[0].removeprefix("  - "): line for line in told[1:]}
    assert {key for key, line in by_key.items() if base in line} == {
        "decode.num_beam",
        "decode.topp",
        "stores",
        "predict",
    }
    assert by_key.keys() >= {"decode.topk", "decode.temperature"}
    assert base not in complaint(path, "decode.topp=4").split("decode.topp")[1].splitlines()[0]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.yaml": "extends: a.yaml"}, ["a.yaml extends", "leave it out"]),
        (
            {"a.yaml": "extends: b.yaml", "b.yaml": "extends: x/../a.yaml", "x/c.yaml": ""},
            ["a.yaml extends", "b.yaml extends", "leave it out"],
        ),
        ({"a.yaml": "extends: b.yaml"}, ["b.yaml", "no such file", "a.yaml extends it"]),
        ({"a.yaml": "extends: [b.yaml]"}, ["extends: ['b.yaml'] is not a path"]),
        ({"a.yaml": "extends: ''"}, ["extends: '' is not a path"]),
        ({"a.yaml": "extends: b.yaml", "b.yaml": "- 1"}, ["b.yaml", "a list instead of keys"]),
        ({"a.yaml": "extend: b.yaml"}, ["extend: no such key; did you mean extends?"]),
    ],
)
def test_a_file_that_cannot_be_extended_is_named(
    tmp_path: Path, files: Mapping[str, str], words: list[str]
) -> None:
    told = complaint(write(tmp_path, files))
    for word in words:
        assert word in told
