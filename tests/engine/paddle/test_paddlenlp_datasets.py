"""Named data sets of PaddleNLP, read by its own builder from files that the test writes."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engine.paddle import paddlenlp_datasets
from tasks.engine.paddle.paddlenlp_datasets import read_named_passages
from tasks.errors import InputError
from tasks.passages.fields import BY_NAME
from tasks.passages.records import Passage, parse_record

BUILDER = """
from collections import namedtuple
from paddlenlp.datasets import dureader_qg

class LocalQG(dureader_qg.DuReaderQG):
    SPLITS = {{"dev": namedtuple("Meta", "file md5 url")("dev.json", {md5!r}, "{url}")}}
"""


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """PaddleNLP's own DuReaderQG builder, with the name and the file of this test."""
    from paddlenlp import datasets
    from paddlenlp.datasets import dataset, dureader_qg

    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "code")])
    monkeypatch.setattr(dataset, "DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(dureader_qg, "DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "code").mkdir()
    (tmp_path / "data" / "LocalQG").mkdir(parents=True)
    yield tmp_path
    sys.modules.pop("paddlenlp.datasets.local_qg", None)


def install(
    home: Path, text: str, md5: str | None = None, url: str = "http://127.0.0.1:9/dev.json"
) -> None:
    code = BUILDER.format(url=url, md5=md5)
    (home / "code" / "local_qg.py").write_text(code, encoding="utf-8")
    (home / "data" / "LocalQG" / "dev.json").write_text(text, encoding="utf-8")


def test_named_data_set_is_read_as_passages(data_home: Path) -> None:
    row = {"context": "长江很长。", "answer": "长江", "question": "哪条江？", "id": 3}
    install(data_home, (json.dumps(row) + "\n\n") * 2)
    outcomes = [
        parse_record(record, at, None, BY_NAME)
        for at, record in enumerate(read_named_passages("local_qg"))
    ]
    expected = Passage(0, None, "3", "长江很长。", "长江", "哪条江？", None, ())
    assert outcomes == [expected, replace(expected, row=1)]


def test_named_data_set_is_read_lazily_and_a_broken_one_ends_reading(data_home: Path) -> None:
    row = {"context": "长江很长。", "answer": "长江", "id": 3}
    install(data_home, json.dumps(row) + "\n{broken\n")
    records = read_named_passages("local_qg")
    assert next(records)["title"] == "长江"
    with pytest.raises(InputError, match=r"after 1 rows: JSONDecodeError.*dataset.predict_file"):
        next(records)


def test_named_data_set_that_is_replaced_while_it_is_read_is_refused(data_home: Path) -> None:
    row = {"context": "长江很长。", "answer": "长江", "id": 3}
    text = json.dumps(row) + "\n"
    install(data_home, text, hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
    assert len(list(read_named_passages("local_qg"))) == 1
    records = read_named_passages("local_qg")
    next(records)
    (data_home / "data/LocalQG/dev.json").write_text(text * 2, encoding="utf-8")
    with pytest.raises(InputError, match="is not the published one"):
        list(records)


def test_data_set_that_cannot_be_downloaded_is_refused(data_home: Path) -> None:
    install(data_home, "")
    (data_home / "data" / "LocalQG" / "dev.json").unlink()
    with pytest.raises(InputError, match=r"check the network, or give a file in `dataset.predict_"):
        next(read_named_passages("local_qg"))


def test_a_server_that_says_nothing_is_not_waited_for(
    data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paddlenlp_datasets, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        install(data_home, "", url=f"http://127.0.0.1:{silent.getsockname()[1]}/dev.json")
        (data_home / "data" / "LocalQG" / "dev.json").unlink()
        with pytest.raises(InputError, match=r"cannot be read after 0 rows.*Retry limit"):
            list(read_named_passages("local_qg"))


@pytest.mark.parametrize("name", ["no_such_set", "../x", "a.b", ""])
def test_unknown_data_set_is_refused_without_a_download(name: str) -> None:
    with pytest.raises(InputError, match="PaddleNLP has no data set"):
        next(read_named_passages(name))
