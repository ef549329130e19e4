from __future__ import annotations

import os
import pwd
import tempfile
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.config.files import read_yaml
from tasks.config.loading import find_config, list_configs, load_settings
from tasks.config.paths import with_absolute_paths, with_date
from tasks.engine.gpu.driver import device_names
from tasks.errors import ConfigError
from tests.support.rehearsal import ROOT

CONFIGS = ROOT / "configs"


def faults_of(tmp_path: Path, text: str, *overrides: str) -> dict[str, str]:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides)
    return {fault.key: f"{fault.problem}; {fault.remedy}" for fault in caught.value.faults}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_config_is_valid(path: Path) -> None:
    load_settings(path)


def test_an_empty_config_has_the_scripts_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    settings = load_settings(path)
    decode = settings.decode
    assert settings.model.model_name_or_path == "unimo-text-1.0-dureader_qg"
    assert settings.dataset.dataset_name == "dureader_qg"
    assert (settings.dataset.template, settings.dataset.max_seq_len) == (1, 512)
    assert (settings.predict.device, settings.predict.batch_size) == ("gpu", 16)
    assert (decode.max_dec_len, decode.min_dec_len, decode.num_beams) == (20, 3, 6)
    assert (decode.length_penalty, decode.topk, decode.topp) == (1.2, 4, 1.0)
    assert (decode.temperature, decode.num_return_sequences) == (1.0, 1)
    assert (decode.diversity_rate, decode.decoding_strategy) == (0.0, "beam_search")


def test_five_faults_are_reported_at_once_with_path_problem_and_what_is_allowed(
    tmp_path: Path,
) -> None:
    faults = faults_of(
        tmp_path,
        """
        decode: {num_beam: 4, max_dec_len: 0}
        dataset: {template: 7}
        predict: {use_tensorrt: 1}
        nonsense: {}
        """,
    )
    assert set(faults) == {
        "decode.num_beam",
        "decode.max_dec_len",
        "dataset.template",
        "predict.use_tensorrt",
        "nonsense",
    }
    assert "did you mean num_beams?" in faults["decode.num_beam"]
    assert "at least 1" in faults["decode.max_dec_len"]
    assert "at least 0, at most 4" in faults["dataset.template"]
    assert "true or false" in faults["predict.use_tensorrt"]


def test_faults_of_overrides_are_reported_with_those_of_the_file(tmp_path: Path) -> None:
    faults = faults_of(
        tmp_path, "decode: {topk: -1}", "predict.device=xpu", "oops", "a.b=[", "predict.devices=["
    )
    assert set(faults) == {
        *("decode.topk", "predict.device", "--set oops", "a", "--set predict.devices=[")
    }


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ("decode: {max_dec_len: 5, min_dec_len: 6}", "decode.min_dec_len"),
        ("decode: {num_beams: 2, num_return_sequences: 3}", "decode.num_return_sequences"),
        (
            "decode: {decoding_strategy: greedy_search, num_return_sequences: 2}",
            "decode.num_return_sequences",
        ),
        ("dataset: {max_seq_len: 20, max_title_len: 20}", "dataset.max_title_len"),
        ("predict: {devices: [cpu, 'gpu:0']}", "predict.devices"),
        ("predict: {devices: []}", "predict.devices"),
        ("aggregate: {partition_by: [dt]}", "aggregate.partition_by"),
        ("aggregate: {group_by: [dt, dt]}", "aggregate.group_by"),
        ("aggregate: {keep: {finished: false}}", "aggregate.keep.finished"),
        ("aggregate: {keep: {duplicate: true}}", "aggregate.keep.duplicate"),
    ],
)
def test_values_that_do_not_go_together_are_faults(
    tmp_path: Path, section: str, where: str
) -> None:
    assert set(faults_of(tmp_path, section)) == {where}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not YAML"),
        ("- 1", "list instead of keys"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
        ("decode: {topk: 3}\nload: {}\ndecode: {topk: 4}", "key decode is repeated (lines 1, 3)"),
        ("decode:\n  topk: 3\n  topp: 1\n  topk: 4", "key topk is repeated (lines 2, 4)"),
        ("a: {b: 1, b: 2}\nc: 1\nc: 2\nc: 3", "b is repeated (lines 1, 1); the key c is"),
    ],
)
def test_a_file_that_is_no_config_is_one_readable_fault(
    tmp_path: Path, text: str, words: str
) -> None:
    assert words in faults_of(tmp_path, text)["the file"]


def test_keys_that_are_merged_are_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "load: &load {batch_size: 3}\nsearch: &search {topk: 3, topp: 0.5}\n"
        "decode: {<<: *search, topk: 4}\npredict: {<<: *load, <<: {batch_size: 5}}\n"
    )
    raw = read_yaml(path, "")
    assert raw["decode"] == {"topk": 4, "topp": 0.5}
    assert raw["search"] == {"topk": 3, "topp": 0.5}


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be used.*\n.*no such file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_an_override_wins_over_the_file_and_keeps_its_yaml_type(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("decode: {num_beams: 4}")
    settings = load_settings(path, ["decode.num_beams=2", "predict.devices=[cpu, cpu]"])
    assert settings.decode.num_beams == 2
    assert device_names(settings.predict) == ("cpu", "cpu")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_a_section_that_is_no_section_is_a_fault_and_never_a_crash(value: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump({"decode": value, "nonsense": value}))
        with pytest.raises(ConfigError) as caught:
            load_settings(path)
    assert all(fault.problem and fault.remedy for fault in caught.value.faults)


def test_values_by_section_win_over_the_file_as_texts_do(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("decode: {num_beams: 4, topk: 2}")
    by_text = load_settings(path, ["decode.num_beams=2", "predict.device=cpu"])
    by_value = load_settings(path, {"decode": {"num_beams": 2}, "predict": {"device": "cpu"}})
    assert by_text == by_value
    assert by_value.decode.topk == 2


def test_keys_below_a_key_are_set_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("dataset: {fields: {context: text, id: number}}")
    answer = {"dataset": {"fields": {"answer": "ans", "id": "doc"}}}
    texts = ["dataset.fields.answer=ans", "dataset.fields.id=doc"]
    for overrides in (answer, texts, ["dataset.fields={answer: ans, id: doc}"]):
        fields = load_settings(path, overrides).dataset.fields
        assert fields is not None
        assert fields.model_dump() == {
            "context": "text",
            "answer": "ans",
            "reference": None,
            "id": "doc",
        }
    assert load_settings(path, ["dataset.fields=null"]).dataset.fields is None


@pytest.mark.parametrize(
    ("override", "where", "words"),
    [
        ("dataset.fields.contxt=a", "dataset.fields.contxt", "did you mean context?"),
        ("dataset.fields=passage", "dataset.fields", "is not a section"),
        ("dataset.fields.context=", "dataset.fields.context", "non-empty text or null"),
        ("dataset.fields={context: a, answer: a}", "dataset.fields.answer", "another field"),
        ("dataset.encoding=nonsense", "dataset.encoding", "such as gb18030"),
        ("dataset.encoding=base64", "dataset.encoding", "such as gb18030"),
    ],
)
def test_wrong_names_of_fields_and_encodings_are_faults(
    tmp_path: Path, override: str, where: str, words: str
) -> None:
    assert words in faults_of(tmp_path, "", override)[where]


def test_values_that_do_not_go_together_have_the_message_of_the_command_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("")
    messages = []
    for overrides in (["decode.min_dec_len=30"], {"decode": {"min_dec_len": 30}}):
        with pytest.raises(ConfigError) as caught:
            load_settings(path, overrides)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_config_is_found_by_its_name_or_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WENTI_CONFIGS", str(tmp_path))
    path = tmp_path / "mine.yaml"
    path.write_text("")
    assert find_config("mine") == find_config(str(path)) == path
    with pytest.raises(ConfigError, match="did you mean mine"):
        find_config("mime")
    with pytest.raises(ConfigError, match=f"no such config in .*{tmp_path}.*known: .*mine"):
        find_config("other")


def test_a_name_means_the_config_of_the_working_folder_then_wenti_configs_then_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WENTI_CONFIGS", raising=False)
    assert list_configs() == {name: ROOT / f"configs/{name}.yaml" for name in SHIPPED}
    for folder, names in (("others", ("demo", "mine")), ("configs", ("mine", "own"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.yaml").touch()
    monkeypatch.setenv("WENTI_CONFIGS", str(tmp_path / "others"))
    assert list(list_configs().items()) == [
        ("demo", tmp_path / "others/demo.yaml"),
        ("dureader_qg", ROOT / "configs/dureader_qg.yaml"),
        ("mine", Path("configs/mine.yaml")),
        ("own", Path("configs/own.yaml")),
    ]


SHIPPED = ("demo", "dureader_qg")
LONG = "x" * 300


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\0b", "no NUL"),
        ("~nobody-of-this-name/x", "no known home"),
        (LONG, "255 bytes per name"),
        ("/".join(["x" * 200] * 21), "4095 in all"),
    ],
)
@pytest.mark.parametrize(
    "key",
    [
        "store.path",
        "model.model_name_or_path",
        "dataset.predict_file",
        "export.inference_model_dir",
        "export.decoding_lib",
        "aggregate.output_path",
        "aggregate.output_folder",
    ],
)
def test_a_path_that_no_file_can_have_is_a_fault(
    tmp_path: Path, key: str, text: str, reason: str
) -> None:
    assert reason in faults_of(tmp_path, "", f"{key}={text}")[key]


def test_a_home_at_the_start_of_a_path_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text("")
    root = pwd.getpwuid(0)
    overrides = ["store.path=~/store", f"dataset.predict_file=~{root.pw_name}/p.jsonl"]
    settings = load_settings(path, overrides)
    assert settings.store.folder == tmp_path / "store"
    assert settings.dataset.file == Path(root.pw_dir) / "p.jsonl"


@pytest.mark.parametrize(
    ("value", "reason"),
    [("2026-13-45", "month"), ("[" * 5000, "nested too deeply"), ("9" * 5000, "digits")],
)
def test_a_value_that_yaml_cannot_give_is_a_fault(tmp_path: Path, value: str, reason: str) -> None:
    assert reason in " ".join(faults_of(tmp_path, "", f"predict.devices={value}").values())
    assert reason in faults_of(tmp_path, f"decode: {{topk: {value}}}")["the file"]


def test_a_config_that_is_a_pipe_or_a_loop_is_not_waited_for(tmp_path: Path) -> None:
    pipe, loop = tmp_path / "pipe.yaml", tmp_path / "loop.yaml"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_settings(find_config(str(pipe)))
    with pytest.raises(ConfigError, match="symbolic links"):
        load_settings(find_config(str(loop)))
    with pytest.raises(ConfigError, match="no such config"):
        find_config(LONG)


@pytest.mark.parametrize(
    ("given", "meant"), [("tab", "\t"), ("\\t", "\t"), ("^", "^"), ("、", "、")]
)
def test_a_delimiter_is_one_character_or_tab(given: str, meant: str) -> None:
    settings = load_settings(ROOT / "configs/demo.yaml", [f"dataset.delimiter={given}"])
    assert settings.dataset.delimiter == meant


@pytest.mark.parametrize("wrong", ["||", '"', "tabs"])
def test_another_delimiter_is_a_fault(wrong: str) -> None:
    with pytest.raises(ConfigError, match="tab, or one character"):
        load_settings(ROOT / "configs/demo.yaml", [f"dataset.delimiter={wrong}"])


@pytest.mark.parametrize(
    "override",
    [
        "store.path=s3://KEY:SECRET@bucket/store",
        "store.path=s3://bucket/store?X-Amz-Signature=SECRET",
        "store.path=az://container/store?sv=2020-10-02&sig=SECRET",
        "store.endpoint=https://account.blob.core.windows.net?sv=2020-10-02&sig=SECRET",
        "store.endpoint=https://KEY:SECRET@s3.example.com",
        "store.endpoint=https://s3.example.com?key=SECRET",
    ],
)
def test_a_credential_in_an_address_is_refused_and_not_shown(tmp_path: Path, override: str) -> None:
    key = override.partition("=")[0]
    faults = faults_of(tmp_path, "", override)
    assert list(faults) == [key]
    assert "credentials come from the environment" in faults[key]
    assert "SECRET" not in str(faults)


def test_the_address_of_a_store_stays_as_it_is_and_its_cache_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("store: {path: 's3://bucket/{date}', cache: copies}")
    dated = with_absolute_paths(with_date(load_settings(path), date(2026, 11, 23)))
    assert str(dated.store.folder) == "s3://bucket/2026-11-23"
    assert dated.store.cache == str(Path.cwd() / "copies")


def test_what_is_no_data_cannot_be_in_an_object_store(tmp_path: Path) -> None:
    keys = ("model.model_name_or_path", "export.inference_model_dir", "store.cache")
    faults = faults_of(tmp_path, "", *(f"{key}=s3://bucket/it" for key in keys))
    assert set(faults) == set(keys)
    assert all("cannot be in an object store" in fault for fault in faults.values())


def test_an_address_of_another_kind_of_object_store_is_no_path(tmp_path: Path) -> None:
    keys = ("store.path", "dataset.predict_file", "aggregate.output_path")
    for scheme in ("gs", "abfss", "oss", "S3A"):
        faults = faults_of(tmp_path, "", *(f"{key}={scheme}://bucket/it" for key in keys))
        assert set(faults) == set(keys)
        assert all("docs/object-stores.md" in fault for fault in faults.values())
    given = 'dataset.predict_file=[a.jsonl, "s3://KEY:SECRET@bucket/a"]'
    (told,) = faults_of(tmp_path, "", given).values()
    assert "SECRET" not in told
