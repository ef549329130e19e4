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
from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.errors import DownloadError, InputError
from tasks.load.dataset import read_input_rows
from tasks.passages.fields import BY_NAME
from tasks.passages.records import Passage, Reason, Reject, parse_record
from tests.support.load_requests import make_request

BUILDER = """
from collections import namedtuple
from paddlenlp.datasets import dureader_qg

class LocalQG(dureader_qg.DuReaderQG):
    SPLITS = {{"dev": namedtuple("Meta", "file md5 url")("dev.json", {md5!r}, "{url}")}}
"""


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """PaddleNLP's own DuReaderQG builder, with the name and the file of this test."""
    import_paddlenlp()
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
    with pytest.raises(DownloadError, match=r"check the network, or give a file in `dataset.pred"):
        next(read_named_passages("local_qg"))


def test_a_server_that_says_nothing_is_not_waited_for(
    data_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paddlenlp_datasets, "SILENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        install(data_home, "", url=f"http://127.0.0.1:{silent.getsockname()[1]}/dev.json")
        (data_home / "data" / "LocalQG" / "dev.json").unlink()
        with pytest.raises(DownloadError, match=r"cannot be downloaded: .*Retry limit"):
            list(read_named_passages("local_qg"))


@pytest.mark.parametrize("name", ["no_such_set", "../x", "a.b", ""])
def test_unknown_data_set_is_refused_without_a_download(name: str) -> None:
    with pytest.raises(InputError, match="PaddleNLP has no data set"):
        next(read_named_passages(name))


def test_unknown_split_is_refused_without_a_download() -> None:
    told = "`squad` has no split `dev`; it has train_v1, dev_v1, train_v2, dev_v2"
    with pytest.raises(InputError, match=told):
        next(read_named_passages("squad", "dev"))
    with pytest.raises(InputError, match="`glue` has no split `dev`; give a file"):
        next(read_named_passages("glue"))


ANSWERS = [{"text": one, "answer_start": 0} for one in ("长江", "长江", "一条河")]
ARTICLE = {
    "title": "河",
    "paragraphs": [
        {
            "context": "长江是一条河。",
            "qas": [
                {"id": "q1", "question": "哪条河？", "answers": ANSWERS},
                {"id": "q2", "question": "为什么？", "answers": []},
            ],
        }
    ],
}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("cmrc2018", "trial"),
        ("drcd", "dev"),
        ("drcd_cn", "train"),
        ("dureader_robust", "dev"),
        ("dureader_checklist", "dev"),
        ("squad", "dev_v2"),
    ],
)
def test_reading_comprehension_has_a_row_for_each_distinct_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, split: str
) -> None:
    import_paddlenlp()
    from paddlenlp.datasets import dataset

    builder = dataset.import_main_class(name)
    monkeypatch.setattr(dataset, "DATA_HOME", str(tmp_path))
    monkeypatch.setattr(sys.modules[builder.__module__], "DATA_HOME", str(tmp_path))
    path = tmp_path / builder.__name__ / builder.SPLITS[split].file
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"data": [ARTICLE]}), encoding="utf-8")
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    known = {one: meta._replace(md5=None) for one, meta in builder.SPLITS.items()}
    monkeypatch.setattr(builder, "SPLITS", known | {split: known[split]._replace(md5=digest)})
    request = replace(make_request(tmp_path, tmp_path), dataset_name=name, split=split)
    rows = list(read_input_rows(replace(request, predict_file=None)))
    assert [(row.row, row.id, getattr(row, "answer", None)) for row in rows] == [
        (0, "q1", "长江"),
        (1, "q1", "一条河"),
        (2, "q2", None),
    ]
    assert isinstance(rows[0], Passage)
    assert (rows[0].context, rows[0].reference) == ("长江是一条河。", "哪条河？")
    assert isinstance(rows[2], Reject)
    assert rows[2].reason is Reason.NO_ANSWER


def test_an_md5_of_the_archive_is_not_taken_for_that_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_paddlenlp()
    from paddlenlp.datasets import dataset, dureader_checklist

    for module in (dataset, dureader_checklist):
        monkeypatch.setattr(module, "DATA_HOME", str(tmp_path))
    # What a download would leave, which PaddleNLP tries as the file's md5 is not the archive's.
    path = tmp_path / "DuReaderChecklist/dataset/dev.json"

    def unpack(_url: str, _folder: str, _md5: str) -> None:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"data": [ARTICLE]}), encoding="utf-8")

    monkeypatch.setattr(dureader_checklist, "get_path_from_url", unpack)
    assert len(list(read_named_passages("dureader_checklist", "dev"))) == 2
