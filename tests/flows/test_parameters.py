from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from flows.deployments.permissions import KEYS, Permissions
from flows.parameters import config_schema, exact, exact_value, form_of, overrides_schema
from flows.question_generation import question_generation, rerun
from tasks.config import loading
from tasks.config.settings import GUARDED_KEYS, Settings
from tests.support.rehearsal import ROOT

SCHEMA = overrides_schema(KEYS)
VALUES = (
    st.integers(-2, 600)
    | st.floats(-2, 2).filter(lambda number: not number.is_integer())
    | st.booleans()
    | st.sampled_from(
        ["", "all", "cpu", "gpu:1", "fp16", "native", "beam_search", "reject", "other"]
    )
    | st.lists(st.sampled_from(["cpu", "gpu:0", "other"]), max_size=2)
)


def keys() -> Iterator[tuple[str, str]]:
    for section, schema in SCHEMA["properties"].items():
        for key in schema["properties"]:
            yield section, key


def fits_the_form(overrides: dict[str, Any]) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(overrides)


def fits_the_settings(overrides: dict[str, Any]) -> bool:
    """Return whether each value is allowed on its own."""
    try:
        Settings.model_validate(overrides)
    except ValidationError as error:
        return {fault["type"] for fault in error.errors()} == {"value_error"}
    return True


@given(st.sampled_from(list(keys())), VALUES)
def test_the_form_takes_the_values_that_a_config_may_have_and_no_others(
    key: tuple[str, str], value: object
) -> None:
    overrides = {key[0]: {key[1]: value}}
    assert fits_the_form(overrides) == fits_the_settings(overrides)


def test_devices_are_a_list_or_all() -> None:
    for devices, is_allowed in (("all", True), (["gpu:0", "gpu:1"], True), ("gpu", False)):
        overrides = {"predict": {"devices": devices}}
        assert fits_the_form(overrides) == fits_the_settings(overrides) == is_allowed


def test_the_form_has_every_key_with_a_description_and_sends_none_by_itself() -> None:
    described = {
        (section, key): SCHEMA["properties"][section]["properties"][key] for section, key in keys()
    }
    expected = {(s, k) for s, part in Settings().as_dict().items() for k in part}
    assert described.keys() == expected
    assert all(schema["description"] for schema in described.values())
    assert not any("default" in schema for schema in described.values())


def test_a_description_says_the_limits_which_a_form_does_not_draw() -> None:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    for section, key in keys():
        schema = SCHEMA["properties"][section]["properties"][key]
        limits = [f"{words[name]} {schema[name]}" for name in words if name in schema]
        told = f"({', '.join(limits)})"
        assert (told in schema["description"]) == bool(limits)
    beams = SCHEMA["properties"]["decode"]["properties"]["num_beams"]["description"]
    assert beams.endswith("(at least 1, at most 64).")


def test_what_a_person_changes_comes_before_what_an_operator_tunes() -> None:
    def in_order(schema: dict[str, Any]) -> list[str]:
        """Return properties as the form sorts them; a database may have mixed them."""
        mixed = sorted(schema["properties"].items())
        return [name for name, _ in sorted(mixed, key=lambda item: item[1]["position"])]

    sections = in_order(SCHEMA)
    assert sections[:6] == ["dataset", "model", "aggregate", "decode", "report", "predict"]
    assert in_order(SCHEMA["properties"]["dataset"])[0] == "predict_file"
    tuned = {
        name
        for name, schema in SCHEMA["properties"].items()
        if schema["description"].startswith("For tuning and operating.")
    }
    operating = {"predict", "shards", "cluster", "quality", "export", "store"}
    assert tuned == set(sections[5:]) == operating


def test_each_kind_of_values_of_a_key_has_a_tab_with_a_title() -> None:
    titles = {
        key: [option["title"] for option in schema["anyOf"]]
        for section in SCHEMA["properties"].values()
        for key, schema in section["properties"].items()
        if "anyOf" in schema
    }
    assert titles["predict_file"] == ["text", "list"]
    assert titles["devices"] == ["list", "all"]
    assert titles["single_file"] == ["true or false", "auto"]
    jsonschema.Draft202012Validator.check_schema(SCHEMA)  # as Prefect's server does


def test_a_key_that_is_true_or_false_can_be_left_empty() -> None:
    """The form draws a list for values that are listed, and else a switch, which looks set."""
    schemas = [SCHEMA["properties"][section]["properties"][key] for section, key in keys()]
    booleans = [schema for schema in schemas if schema.get("type") == "boolean"]
    assert booleans
    assert all(schema["enum"] == [True, False] for schema in booleans)


def test_what_an_empty_field_means_is_said_once() -> None:
    parameters = parameter_schema(question_generation.fn).model_dump()["properties"]
    assert parameters["overrides"]["description"].endswith("Empty: as in the config.")
    assert "Empty" not in json.dumps(SCHEMA)


@pytest.mark.parametrize(
    ("fields", "is_allowed"),
    [
        ({}, True),
        ({"context": "passage", "id": "doc_id"}, True),
        ({"context": ""}, False),
        ({"context": 3}, False),
        ({"contxt": "passage"}, False),
    ],
)
def test_the_form_takes_the_names_of_fields_one_by_one(
    fields: dict[str, Any], is_allowed: bool
) -> None:
    overrides = {"dataset": {"fields": fields}}
    assert fits_the_form(overrides) == fits_the_settings(overrides) == is_allowed
    schema = SCHEMA["properties"]["dataset"]["properties"]["fields"]
    assert schema["properties"]["context"]["title"] == "context"
    assert all(one["type"] == "string" for one in schema["properties"].values())


@pytest.mark.parametrize("wrong", [{"decod": {}}, {"decode": {"num_beam": 4}}, {"decode": 4}])
def test_the_form_takes_no_unknown_keys(wrong: dict[str, Any]) -> None:
    assert not fits_the_form(wrong)


def test_the_form_offers_the_configs_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert config_schema()["enum"] == sorted(path.stem for path in (ROOT / "configs").glob("*"))


def test_without_configs_any_text_may_name_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "CLONE", tmp_path)  # it was not installed from a clone
    assert config_schema() == {"type": "string"}


def test_prefect_makes_its_form_of_these_schemas() -> None:
    parameters = parameter_schema(question_generation.fn).model_dump()["properties"]
    assert parameters["config"]["description"].startswith("The name of a config")
    default = overrides_schema(Permissions().keys)
    assert parameters["overrides"]["properties"] == default["properties"]


def test_the_form_shows_what_may_be_set_and_takes_what_prefect_yaml_sets() -> None:
    schema = overrides_schema(Permissions().keys)
    shown = {
        f"{name}.{key}" for name, part in schema["properties"].items() for key in part["properties"]
    }
    assert shown == Permissions().keys - {"config"}
    check = jsonschema.Draft202012Validator(schema).is_valid
    assert "store" not in schema["properties"]
    assert check({"store": {"path": "x"}, "aggregate": {"output_path": "y"}})
    assert not check({"store": {"path": ""}})
    assert not check({"store": {"paths": "x"}})


def test_each_deployment_has_the_form_of_its_permissions() -> None:
    def shown(flow: Flow[Any, Any], *listed: str) -> dict[str, Any]:
        schema = parameter_schema(form_of(flow, Permissions(listed).keys))
        return schema.model_dump()["properties"]

    assert list(shown(question_generation)) == ["day", "overrides"]
    assert list(shown(question_generation, "config", "model")) == ["config", "day", "overrides"]
    sections = shown(question_generation, "model", *GUARDED_KEYS)["overrides"]["properties"]
    assert list(sections) == ["model", "aggregate", "store", "export", "cluster"]
    assert list(sections["model"]["properties"]) == ["model_name_or_path"]
    assert "store" not in shown(rerun)
    assert "store" in shown(rerun, "store.path")
    assert "config" in parameter_schema(question_generation).model_dump()["properties"]


def test_a_name_that_is_not_utf_8_is_shown_to_prefect_and_reaches_the_flow() -> None:
    name = os.fsdecode("数据.jsonl".encode("gbk"))
    overrides = {"dataset": {"predict_file": name}, "decode": {"topk": 4}, "predict": {"x": [1]}}
    with exact(config=name, overrides=overrides) as shown:
        assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
        assert shown["config"] == r"\udcca\udcfd\udcbe\udcdd.jsonl"
        assert exact_value("config", shown["config"]) == name
        assert exact_value("overrides", shown["overrides"]) == overrides
        assert exact_value("day", None) is None
    assert exact_value("config", "demo") == "demo"


def test_names_that_are_utf_8_are_shown_as_they_are() -> None:
    parameters = {"config": "夜 #1.yaml", "overrides": {"store": {"path": "店"}}}
    with exact(**parameters) as shown:
        assert shown == parameters
