from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.deployments.permissions import (
    ALL,
    VARIABLE,
    Permissions,
    as_variables,
    find_faults,
    flatten,
    permissions_of,
    unflatten,
)
from tasks.config.settings import GUARDED_KEYS, Settings
from tasks.errors import ConfigError
from tests.support.rehearsal import ROOT

TEXTS_WITHOUT_HARM = {
    "cluster.accelerator",
    "model.model_name_or_path",  # nothing in its files is executed
    "dataset.dataset_name",  # a module of PaddleNLP's own
    "dataset.split",  # a file of that data set
    "dataset.predict_file",  # is only read
    "dataset.encoding",  # one that Python knows
    "dataset.delimiter",  # of cells
}
NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "parameters": {
        "config": "demo",
        "overrides": {
            "dataset": {"predict_file": "data/{date}.jsonl"},
            "aggregate": {"output_path": "/data/questions.txt"},
        },
    },
    "schedules": [
        {"cron": "30 1 * * *"},
        {
            "cron": "30 2 * * 0",
            "parameters": {"overrides": {"aggregate": {"output_path": "/data/week.txt"}}},
        },
    ],
}
CONFIGS = ["demo", "dureader_qg"]


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def settings(**sections: dict[str, object]) -> Settings:
    return Settings.model_validate(sections)


def test_every_text_and_mapping_of_a_config_is_known_to_be_harmless_or_is_guarded() -> None:
    schema = Settings.model_json_schema()
    texts = set()
    for section, reference in schema["properties"].items():
        keys = schema["$defs"][reference["$ref"].rpartition("/")[2]]["properties"]
        for key, inner in keys.items():
            options = inner.get("anyOf", [inner])
            if any(
                one.get("type") in {"string", "object"} and not {"enum", "const"} & {*one}
                for one in options
            ):
                texts.add(f"{section}.{key}")
    assert texts == GUARDED_KEYS | TEXTS_WITHOUT_HARM


def test_by_default_every_key_may_be_set_but_those_that_are_guarded() -> None:
    everything = {f"{name}.{key}" for name, part in Settings().as_dict().items() for key in part}
    assert Permissions().keys == (everything | {"config"}) - GUARDED_KEYS


@pytest.mark.parametrize(
    ("listed", "keys"),
    [
        ([], set()),
        (["config"], {"config"}),
        (["store"], set()),
        (["store", "store.path"], {"store.path"}),
        (["report"], {"report.language"}),
        (["decode.topk", "aggregate.output_path"], {"decode.topk", "aggregate.output_path"}),
    ],
)
def test_a_section_means_its_keys_but_those_that_have_to_be_named(
    listed: list[str], keys: set[str]
) -> None:
    assert permissions_of({"allow_overrides": listed}).keys == keys


@pytest.mark.parametrize("key", sorted(GUARDED_KEYS))
def test_a_guarded_key_is_refused_and_named(key: str) -> None:
    overrides = unflatten({key: "/elsewhere/x", "decode.topk": 3})
    with pytest.raises(ConfigError) as caught:
        Permissions().apply("demo", overrides)
    assert [fault.key for fault in caught.value.faults] == [key]
    assert Permissions([*ALL, key]).apply("demo", overrides) == overrides


@pytest.mark.parametrize("key", [*sorted(GUARDED_KEYS), "dataset.max_rejected"])
def test_a_key_that_may_not_be_set_may_not_be_emptied_either(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Permissions(["config", "decode"]).apply("demo", unflatten({key: None}))
    assert [fault.key for fault in caught.value.faults] == [key]


def test_all_faults_are_told_at_once() -> None:
    overrides = {"store": {"path": "/elsewhere/x"}, "export": {"decoding_lib": "/elsewhere/x.so"}}
    with pytest.raises(ConfigError) as caught:
        Permissions().apply("/elsewhere/mine.yaml", overrides)
    keys = {fault.key for fault in caught.value.faults}
    assert keys == {"store.path", "export.decoding_lib", "config"}


def test_a_key_that_does_not_exist_is_not_told_as_forbidden() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.predict_fil: there is no such key; did you"):
        Permissions().apply("demo", {"dataset": {"predict_fil": "x.jsonl"}})


@pytest.mark.parametrize("config", ["configs/demo.yaml", "../demo", "nothing", "demo.yaml"])
def test_a_sender_chooses_a_config_by_its_name_only(config: str) -> None:
    permissions = permissions_of(NIGHTLY)
    with pytest.raises(ConfigError, match=r"not the name of a config; known: demo, dureader_qg"):
        permissions.apply(config, NIGHTLY["parameters"]["overrides"])
    path = permissions_of({"parameters": {"config": config}})
    assert path.apply(config, {"decode": {"topk": 3}}) == {"decode": {"topk": 3}}


def test_a_config_that_is_not_listed_stays_the_one_of_the_deployment() -> None:
    permissions = permissions_of({**NIGHTLY, "allow_overrides": ["decode"]})
    with pytest.raises(ConfigError, match=r"config: .*'dureader_qg'.*it is 'demo' there"):
        permissions.apply("dureader_qg", {})


def test_values_that_may_not_be_set_stay_those_of_prefect_yaml() -> None:
    permissions = permissions_of(NIGHTLY)
    sent = {"decode": {"num_beams": 4}, "dataset": {"predict_file": "today.jsonl"}}
    kept = {"aggregate": {"output_path": "/data/questions.txt"}}
    assert permissions.apply("demo", sent) == {**sent, **kept}
    assert permissions.apply("dureader_qg", {**sent, **kept}) == {**sent, **kept}
    with pytest.raises(ConfigError, match=r"it is '/data/questions.txt' there"):
        permissions.apply("demo", {"aggregate": {"output_path": "/data/other.txt"}})


def test_the_parameters_of_a_schedule_are_those_of_prefect_yaml_too() -> None:
    weekly = NIGHTLY["schedules"][1]["parameters"]["overrides"]
    assert permissions_of(NIGHTLY).apply("demo", weekly) == weekly
    with pytest.raises(ConfigError):  # but not with anything else beside them
        permissions_of(NIGHTLY).apply("demo", {**weekly, "decode": {"num_beams": 4}})


@given(
    st.sampled_from(CONFIGS),
    st.dictionaries(
        st.sampled_from(sorted(Permissions(sorted(GUARDED_KEYS)).keys | Permissions().keys)),
        st.sampled_from(["a", True, "/data/questions.txt"]),
    ),
    st.lists(st.sampled_from([*ALL, *sorted(GUARDED_KEYS)]), unique=True),
)
def test_a_run_has_only_allowed_values_and_those_of_prefect_yaml(
    config: str, sent: dict[str, Any], listed: list[str]
) -> None:
    sent.pop("config", None)
    permissions = permissions_of({**NIGHTLY, "allow_overrides": listed})
    base = flatten(NIGHTLY["parameters"]["overrides"])
    try:
        result = flatten(permissions.apply(config, unflatten(sent)))
    except ConfigError as error:
        for fault in error.faults:
            assert fault.key not in permissions.keys
        return
    assert config == "demo" or "config" in permissions.keys
    for key in result.keys() | base.keys():
        expected = sent if key in permissions.keys else base
        assert result.get(key) == expected.get(key)


def test_a_rerun_is_of_a_run_in_the_store_of_prefect_yaml() -> None:
    default, other = Permissions(), permissions_of({"parameters": {"store": "/data/store"}})
    default.check_rerun("latest", "wenti-store", "wenti-store")
    other.check_rerun("20261123-010003-ab12cd", "/data/store", "wenti-store")
    Permissions(["store.path"]).check_rerun("latest", "/elsewhere/x", "wenti-store")
    for run, store, words in (
        ("latest", "/elsewhere/x", "store: a run may not set it"),
        ("/elsewhere/x/runs/1", "wenti-store", "run: '/elsewhere/x/runs/1' is a path"),
        ("../../x", "wenti-store", "is a path"),
    ):
        with pytest.raises(ConfigError, match=words):
            default.check_rerun(run, store, "wenti-store")


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("decode", "it is not a list"),
        (["decod"], "there is no key 'decod'; did you mean decode?"),
        (["decode.num_beam"], "did you mean decode.num_beams?"),
        ([3], "there is no key 3"),
    ],
)
def test_a_list_of_unknown_keys_is_a_fault(listed: object, words: str) -> None:
    (fault,) = find_faults({"name": "demo", "allow_overrides": listed})
    assert words in str(fault)
    assert str(fault).startswith("demo.allow_overrides: ")


def test_the_deployments_reach_their_runs() -> None:
    (told,) = json.loads(as_variables([{**NIGHTLY, "entrypoint": "x"}])[VARIABLE])
    assert permissions_of(told) == permissions_of(NIGHTLY)
    assert "entrypoint" not in told
