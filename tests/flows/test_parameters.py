from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError

from flows.parameters import config_schema, overrides_schema
from tasks.config.settings import Settings
from tests.support.rehearsal import ROOT

SCHEMA = overrides_schema()
VALUES = (
    st.integers(-2, 600)
    | st.floats(-2, 2).filter(lambda number: not number.is_integer())
    | st.booleans()
    | st.sampled_from(["", "cpu", "gpu:1", "fp16", "native", "beam_search", "reject", "other"])
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


def test_the_form_has_every_key_with_a_description_and_sends_none_by_itself() -> None:
    described = {
        (section, key): SCHEMA["properties"][section]["properties"][key] for section, key in keys()
    }
    expected = [(s, k) for s, part in Settings().as_dict().items() for k in part]
    assert list(described) == expected
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
    assert "Allowed: a whole number (at least 1, at most 64). Default: 6." in beams


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
    assert config_schema() == {"type": "string"}


def test_prefect_makes_its_form_of_these_schemas() -> None:
    from flows.question_generation import question_generation

    parameters = parameter_schema(question_generation.fn).model_dump()["properties"]
    assert parameters["config"]["description"].startswith("The name of a config")
    assert parameters["overrides"]["properties"] == SCHEMA["properties"]
