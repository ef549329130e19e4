"""Exporting and running a model: the files, and the messages if it is not possible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Batch, Row, pad_rows, probe_rows
from tasks.engine.contract import MODEL_FILE, PARAMS_FILE, Contract, read_contract, write_contract
from tasks.engine.export.native import export_native
from tasks.engine.inference.session import Session
from tasks.engine.paddle.devices import find_device_faults, require_devices
from tasks.engine.paddle.runtime import import_paddle
from tasks.errors import DeviceError, ExportError, InputError, ModelError, StoreCorruptionError
from tests.support.engine_reference import Recipe, make_checkpoint
from tests.support.rehearsal import ROOT

DECODE = DecodeSettings(num_beams=2, max_dec_len=4)
ON_CPU = PredictSettings(device="cpu", cpu_threads=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    return make_checkpoint(folder, Recipe(0, vocab_size=50, hidden_size=16))


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_native(checkpoint, DECODE, folder)
    return folder


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that the test can damage."""
    return shutil.copytree(checkpoint, tmp_path / "broken")


def open_session(folder: Path) -> Session:
    return Session(folder, read_contract(folder), ON_CPU, "cpu")


def refusal(checkpoint: Path, tmp_path: Path, decode: DecodeSettings = DECODE) -> str:
    """Return the message of an export that must fail and leave nothing behind."""
    folder = tmp_path / "refused"
    folder.mkdir()
    with pytest.raises((ModelError, ExportError)) as caught:
        export_native(checkpoint, decode, folder)
    assert not list(folder.iterdir())
    return str(caught.value)


def test_three_files_are_written_and_the_contract_tells_of_them(exported: Path) -> None:
    contract = read_contract(exported)
    names = sorted(path.name for path in exported.iterdir())
    assert names == sorted(["contract.json", MODEL_FILE, PARAMS_FILE])
    assert (contract.engine, contract.decode, contract.vocab_size) == ("native", DECODE, 50)
    assert [spec.name for spec in contract.inputs] == ["input_ids", "token_type_ids", "seq_len"]
    assert [spec.shape for spec in contract.outputs] == [("batch", 1, 4), ("batch", 1)]


def test_another_process_writes_the_same_bytes(
    checkpoint: Path, exported: Path, tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path; from tasks.engine.export.native import export_native;"
        "from tasks.config.settings import DecodeSettings; import sys;"
        "export_native(Path(sys.argv[1]), DecodeSettings(num_beams=2, max_dec_len=4),"
        "Path(sys.argv[2]))"
    )
    root = ROOT
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path)]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    for path in exported.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_contract_names_the_files_of_an_export(exported: Path, tmp_path: Path) -> None:
    contract = read_contract(exported)
    # The end of the name tells Paddle the format.
    names = {"model_file": f"other{Path(MODEL_FILE).suffix}", "params_file": "weights"}
    for field, name in names.items():
        shutil.copyfile(exported / getattr(contract, field), tmp_path / name)
    write_contract(contract.model_copy(update=names), tmp_path)
    batch = pad_rows(probe_rows(contract), contract.special_tokens.pad)
    expected, found = (open_session(folder).run(batch) for folder in (exported, tmp_path))
    assert found.tokens.tolist() == expected.tokens.tolist()


def test_no_path_of_this_machine_is_in_the_model(exported: Path) -> None:
    assert str(ROOT).encode() not in (exported / MODEL_FILE).read_bytes()


def test_the_older_layout_of_a_checkpoint_gives_the_same_model(
    broken: Path, exported: Path, tmp_path: Path
) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").unlink()
    (broken / "generation_config.json").unlink()
    dropped = {"architectures", "model_type", "paddlenlp_version", "dtype"}
    older = {key: value for key, value in config.items() if key not in dropped}
    older["init_class"] = "UNIMOModel"
    wrapped = {"init_args": [older], "init_class": "UNIMOLMHeadModel"}
    (broken / "model_config.json").write_text(json.dumps(wrapped))
    folder = tmp_path / "exported"
    folder.mkdir()
    export_native(broken, DECODE, folder)
    for path in exported.iterdir():
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_every_reason_is_given_at_once(broken: Path, tmp_path: Path) -> None:
    changes: dict[str, dict[str, object]] = {"config.json": {"hidden_act": "tanh"}}
    changes["generation_config.json"] = {"no_repeat_ngram_size": 2, "early_stopping": True}
    for name, change in changes.items():
        settings = json.loads((broken / name).read_text()) | change
        (broken / name).write_text(json.dumps(settings))
    decode = DecodeSettings(max_dec_len=400, num_beams=30, length_penalty=100000.0)
    message = refusal(broken, tmp_path, decode)
    parts = ("tanh", "no_repeat_ngram_size: 2", "early_stopping: True", "max_dec_len: 400")
    for part in (*parts, "num_beams: 30", "length_penalty: 100000.0"):
        assert part in message, part


def test_what_a_checkpoint_sets_for_generate_is_asked_for_in_the_config(
    broken: Path, tmp_path: Path
) -> None:
    path = broken / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"repetition_penalty": 1.2}))
    assert "set it in `decode.repetition_penalty` too" in refusal(broken, tmp_path)
    decode = DECODE.model_copy(update={"repetition_penalty": 1.2})
    (folder := tmp_path / "exported").mkdir()
    assert export_native(broken, decode, folder).decode == decode


def test_a_checkpoint_that_is_no_folder(checkpoint: Path, tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere", tmp_path)
    with pytest.raises(ModelError, match="a file, not a folder"):
        export_native(checkpoint / "config.json", DECODE, tmp_path)


def test_all_missing_files_are_named(broken: Path, tmp_path: Path) -> None:
    for path in broken.iterdir():
        path.unlink()
    message = refusal(broken, tmp_path)
    for name in ("config.json", "model_state.pdparams", "vocab.txt", "model_name_or_path"):
        assert name in message


def test_another_kind_of_model_is_named(broken: Path, tmp_path: Path) -> None:
    (broken / "config.json").write_text('{"architectures": ["BertForMaskedLM"]}')
    assert "BertForMaskedLM" in refusal(broken, tmp_path)


def test_a_config_that_is_no_json(broken: Path, tmp_path: Path) -> None:
    (broken / "config.json").write_text("{")
    assert "config.json cannot be read as JSON" in refusal(broken, tmp_path)


def test_weights_that_are_none(broken: Path, tmp_path: Path) -> None:
    (broken / "model_state.pdparams").write_bytes(b"nothing")
    assert "model_state.pdparams cannot be read" in refusal(broken, tmp_path)


def test_weights_that_are_missing_are_not_made_up(broken: Path, tmp_path: Path) -> None:
    paddle = import_paddle()
    path = str(broken / "model_state.pdparams")
    weights = paddle.load(path)
    del weights["lm_head.transform.weight"]
    paddle.save(weights, path)
    assert "1 weights are missing: lm_head.transform.weight" in refusal(broken, tmp_path)


def test_a_vocabulary_of_another_size(broken: Path, tmp_path: Path) -> None:
    with (broken / "vocab.txt").open("a") as vocabulary:
        vocabulary.write("多\t50\n")
    assert "50 tokens but vocab.txt has 51" in refusal(broken, tmp_path)


def test_a_vocabulary_that_is_none(broken: Path, tmp_path: Path) -> None:
    (broken / "vocab.txt").write_text("a list of words\n")
    assert "vocab.txt, line 1: not a token, a tab and its id" in refusal(broken, tmp_path)


def test_devices_that_are_not_there_are_all_named() -> None:
    assert find_device_faults(["cpu", "cpu:1"]) == []
    reasons = [str(fault) for fault in find_device_faults(["gpu:98", "gpu:99"])]
    assert len(reasons) == 2
    assert "gpu:98" in reasons[0]
    assert "gpu:99" in reasons[1]
    assert all("predict.device: cpu" in reason for reason in reasons)
    with pytest.raises(DeviceError, match=r"gpu:98.*\n.*gpu:99"):
        require_devices(["gpu:98", "gpu:99"])


def test_a_session_on_a_device_that_is_not_there(exported: Path) -> None:
    with pytest.raises(DeviceError, match="gpu:99"):
        Session(exported, read_contract(exported), PredictSettings(), "gpu:99")


def test_onednn_gives_the_same_tokens(exported: Path) -> None:
    contract = read_contract(exported)
    batch = pad_rows(probe_rows(contract), contract.special_tokens.pad)
    expected = open_session(exported).run(batch)
    with_onednn = PredictSettings(device="cpu", cpu_threads=1, enable_mkldnn=True)
    found = Session(exported, contract, with_onednn, "cpu").run(batch)
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert np.abs(found.scores - expected.scores).max() < 1e-4


def good_batch(contract: Contract) -> Batch:
    return pad_rows(probe_rows(contract), contract.special_tokens.pad)


def test_a_session_answers_batches_of_any_shape(exported: Path) -> None:
    session = open_session(exported)
    rows = probe_rows(session.contract)
    together = session.run(pad_rows(rows, 0))
    for index, row in enumerate(rows):
        alone = session.run(pad_rows([row], 0))
        assert alone.tokens[0].tolist() == together.tokens[index].tolist()
    assert (together.tokens.dtype, together.scores.dtype) == (np.int32, np.float32)


def test_a_batch_that_the_model_cannot_take_is_refused(exported: Path) -> None:
    session = open_session(exported)
    good = good_batch(session.contract)
    bad = {
        "int32": replace(good, input_ids=good.input_ids.astype(np.int64)),
        "shapes": replace(good, token_type_ids=good.token_type_ids[:, 1:]),
        "do not fit together": replace(good, numbers=good.numbers[1:]),
        "no rows": Batch(*(getattr(good, field.name)[:0] for field in fields(good))),
        "322 tokens": pad_rows([made_up_row(322)], 0),
        "seq_len": replace(good, seq_len=good.seq_len + 1),
        "input_ids outside 0 to 49": replace(good, input_ids=good.input_ids + 49),
        "token_type_ids": replace(good, token_type_ids=good.token_type_ids - 1),
    }
    for message, batch in bad.items():
        with pytest.raises(InputError, match=message):
            session.run(batch)
    session.run(good)


def made_up_row(length: int) -> Row:
    return Row([5] * length, [0] * length)


@pytest.mark.parametrize("name", [MODEL_FILE, PARAMS_FILE])
@pytest.mark.parametrize("harm", ["missing", "cut"])
def test_a_damaged_model_is_recognised(
    exported: Path, tmp_path: Path, name: str, harm: str
) -> None:
    folder = shutil.copytree(exported, tmp_path / "damaged")
    whole = (folder / name).read_bytes()
    (folder / name).unlink()
    if harm == "cut":
        (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreCorruptionError, match=r"export (it|the model) again"):
        open_session(folder)
