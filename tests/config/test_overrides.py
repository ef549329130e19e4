"""What a text on the command line means for keys of each type."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.loading import load_settings
from tasks.config.overrides import parse_overrides
from tasks.config.settings import Settings
from tasks.errors import ConfigError

GBK = os.fsdecode("数据.jsonl".encode("gbk"))  # as Python reads it from the command line
NAMES = [
    *(
        "questions #1.txt",
        "a: b.jsonl",
        "[1] x.jsonl",
        "{date}.jsonl",
        "'quoted'",
        '"',
        "- x",
        "*x",
    ),
    *("1e5", "yes", "no", "2026-11-23", "0x10", "1:30", " x ", "#", "a=b", "!x", "*x", "%", GBK),
]
PATHS = (
    *("store.path", "model.model_name_or_path", "dataset.predict_file", "export.decoding_lib"),
    *("export.inference_model_dir", "aggregate.output_path"),
)


def parse(key: str, text: str) -> Any:  # noqa: ANN401 of any type
    values, faults = parse_overrides([f"{key}={text}"])
    assert faults == []
    section, _, name = key.partition(".")
    return values[section][name]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("")
    return path


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_path_is_taken_as_it_stands(config: Path, key: str, name: str) -> None:
    section, _, last = key.partition(".")
    settings = load_settings(config, [f"{key}={name}"])
    assert getattr(getattr(settings, section), last) == name


def test_every_key_that_can_be_a_text_takes_it_as_it_stands() -> None:
    texts = 0
    for section, field in Settings.model_fields.items():
        for key, inner in field.annotation.model_fields.items():  # type: ignore[union-attr]
            if isinstance(inner.default, str):
                texts += 1
                assert parse(f"{section}.{key}", "a #b: [c") == "a #b: [c"
    assert texts >= 8


@given(st.text())
def test_any_text_is_a_path(text: str) -> None:
    assert parse("store.path", text) == text


def test_null_is_no_value_where_a_key_may_have_none_and_a_name_elsewhere() -> None:
    assert parse("dataset.predict_file", "null") is None
    assert parse("predict.batch_deadline_seconds", "null") is None
    assert parse("predict.devices", "null") is None
    assert parse("store.path", "null") == "null"


def test_an_empty_text_is_a_fault_and_not_the_named_data_set(config: Path) -> None:
    with pytest.raises(ConfigError, match="non-empty text"):
        load_settings(config, ["dataset.predict_file="])


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("decode.seed", "010", 10),  # YAML: 8
        ("decode.topk", " 4 ", 4),
        ("decode.length_penalty", "1e-3", 0.001),  # YAML: a text
        ("decode.length_penalty", "-.5", -0.5),
        ("decode.length_penalty", "2", 2),
        ("predict.batch_deadline_seconds", "1.", 1.0),
        ("aggregate.allow_partial", "true", True),
        ("predict.devices", "[gpu:0, gpu:1]", ["gpu:0", "gpu:1"]),
    ],
)
def test_numbers_are_decimal_and_lists_are_yaml(key: str, text: str, value: object) -> None:
    assert parse(key, text) == value


@pytest.mark.parametrize("text", ["1:30", "0x10", "1_000", "4 #5", "", "four", "1.5", "null"])
def test_what_is_no_whole_number_is_a_fault(config: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"decode\.topk: .* allowed: a whole number"):
        load_settings(config, [f"decode.topk={text}"])


@pytest.mark.parametrize("digits", [101, 5000])
def test_a_number_of_many_digits_is_a_fault_of_its_key(config: Path, digits: int) -> None:
    for key, allowed in (("decode.topk", "a whole number"), ("decode.temperature", "a number")):
        with pytest.raises(ConfigError, match=rf"{key}: .* allowed: {allowed}"):
            load_settings(config, [f"{key}={'9' * digits}"])


@given(st.integers(-(2**70), 2**70))
def test_any_integer_is_read_back(number: int) -> None:
    assert parse("decode.topk", str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_read_back(number: float) -> None:
    assert parse("decode.topp", repr(number)) == number


def test_a_name_that_is_not_utf_8_survives_the_config_of_its_run(config: Path) -> None:
    settings = load_settings(config, [f"dataset.predict_file={GBK}"])
    config.write_text(yaml.safe_dump(settings.as_dict(), allow_unicode=True), encoding="utf-8")
    assert load_settings(config) == settings


def test_an_unknown_key_is_the_fault_whatever_its_value(config: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean predict_file"):
        load_settings(config, ["dataset.predict_fil=[x: "])


def test_a_path_in_brackets_is_a_list_where_a_list_is_allowed() -> None:
    assert parse("dataset.predict_file", "[a.jsonl, b/*.csv]") == ["a.jsonl", "b/*.csv"]
    assert parse("dataset.predict_file", "[ab]*.jsonl") == "[ab]*.jsonl"
    assert parse("store.path", "[a]") == "[a]"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[]", "a list of non-empty text"),
        ("[a, 3]", "3 (int)"),
        ("[a, 'x{date-}']", "{date-1}"),
        ("x{date-}", "{date-1}"),
    ],
)
def test_a_wrong_path_or_list_of_paths_is_told_once(config: Path, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_settings(config, [f"dataset.predict_file={value}"])
    assert len(raised.value.faults) == 1
    assert message in str(raised.value)
    assert "dataset.predict_file" in str(raised.value)
