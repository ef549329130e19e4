"""What was hashed is what is loaded: files that are replaced in between are refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.settings import DecodeSettings
from tasks.engine.export.native import export_native
from tasks.engine.fake import export_fake
from tasks.engine.model_files import ModelFiles
from tasks.engine.models.checkpoint import load_checkpoint
from tasks.engine.tokenization.tokenizer import load_text_tokenizer
from tasks.errors import ModelError
from tests.support.engine_reference import Recipe, make_checkpoint

DECODE = DecodeSettings(num_beams=2, max_dec_len=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_checkpoint(
        tmp_path_factory.mktemp("original"), Recipe(5, vocab_size=60, hidden_size=16)
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def swap_characters(content: bytes) -> bytes:
    return content.replace("一\t5".encode(), "一\t6".encode()).replace(
        "丁\t6".encode(), "丁\t5".encode()
    )


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "model_state.pdparams": lambda content: content[:-900] + bytes(4) + content[-896:],
    "config.json": lambda content: content.replace(b'"pad_token_id": 0', b'"pad_token_id": 4'),
    "generation_config.json": lambda content: content + b" ",
    "tokenizer_config.json": lambda content: content.replace(b"true", b"false"),
    "vocab.txt": swap_characters,
}


def replace(path: Path) -> None:
    before = path.read_bytes()
    after = CHANGES[path.name](before)
    assert after != before
    path.unlink()  # as a deployment does: another file under the name
    path.write_bytes(after)


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_was_replaced_after_it_was_hashed_is_refused(folder: Path, name: str) -> None:
    files = ModelFiles.of_model(folder)
    replace(folder / name)
    with pytest.raises(ModelError, match=rf"{name} was changed after the run had begun; run again"):
        load_checkpoint(files)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "vocab.txt"])
def test_a_tokenizer_that_was_replaced_is_refused(folder: Path, name: str) -> None:
    files = ModelFiles.of_tokenizer(folder)
    replace(folder / name)
    with pytest.raises(ModelError, match=f"{name} was changed"):
        load_text_tokenizer(files)


@pytest.mark.parametrize("name", ["vocab.txt", "model_state.pdparams"])
def test_a_file_that_vanished_or_became_a_fifo_is_refused(folder: Path, name: str) -> None:
    files = ModelFiles.of_model(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}"):
        load_checkpoint(files)
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=rf"{name}"):
        load_checkpoint(files)


def test_a_file_that_appeared_after_the_others_were_hashed_is_not_read(
    folder: Path, original: Path
) -> None:
    files = ModelFiles.of_model(folder)
    (folder / "model.safetensors").write_bytes(b"other weights")
    (folder / "added_tokens.json").write_text('{"more": 60}')
    load_checkpoint(files)
    assert load_text_tokenizer(files).tokens == load_text_tokenizer(original).tokens


def test_weights_that_are_overwritten_while_they_are_read_are_refused(folder: Path) -> None:
    files, path = ModelFiles.of_model(folder), folder / "model_state.pdparams"

    def read() -> None:
        with files.open(path.name) as file, path.open("r+b") as other:
            file.read(1000)
            other.seek(5000)
            other.write(b"other")

    with pytest.raises(ModelError, match=r"model_state\.pdparams was changed"):
        read()


def test_what_looks_damaged_because_it_was_overwritten_is_called_changed(folder: Path) -> None:
    files, path = ModelFiles.of_model(folder), folder / "model_state.pdparams"

    def read() -> None:
        with files.open(path.name) as file:
            path.write_bytes(b"")
            raise EOFError(file.read())

    with pytest.raises(ModelError, match=r"model_state\.pdparams was changed"):
        read()


@pytest.mark.parametrize("export", [export_native, export_fake])
def test_an_export_of_a_replaced_model_writes_nothing(
    folder: Path, tmp_path: Path, export: Callable[[ModelFiles, DecodeSettings, Path], object]
) -> None:
    files = ModelFiles.of_model(folder)
    replace(folder / "vocab.txt")
    (tmp_path / "export").mkdir()
    with pytest.raises(ModelError, match="was changed"):
        export(files, DECODE, tmp_path / "export")
    assert not list((tmp_path / "export").iterdir())


def test_a_vocabulary_in_another_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_bytes(swap_characters((folder / "vocab.txt").read_bytes()))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({"vocab_file": str(elsewhere)}))
    with pytest.raises(ModelError, match="names another vocabulary"):
        load_text_tokenizer(folder)
    for harmless in (folder / "vocab.txt", tmp_path / "nowhere.txt"):
        config.write_text(json.dumps({"vocab_file": str(harmless)}))
        assert load_text_tokenizer(folder).tokens[5] == "一"
