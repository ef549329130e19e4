"""Several processes load what one loads, to the byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError, ModelError, WorkerError
from tasks.load import dataset, helpers, parts
from tasks.load.dataset import LoadRequest, load_passages, make_tokenizer
from tasks.load.encoding import Encoded
from tasks.load.helpers import Helpers, cut_blocks
from tasks.parallel import helpers as parallel
from tasks.passages.records import Passage, Reason, Reject
from tests.support.load_requests import small_parts

PROMPTS = {"prompt_common": "问题", "prompt_domain": ["中国", "长江", "河流"]}


def write_mixed(path: Path, count: int) -> None:
    """Write usable rows, and among them some that the reader or the tokenizer rejects."""
    lines = []
    for number in range(count):
        row = {"context": "长江河流" * (number % 9 + 1), "answer": "长江", **PROMPTS}
        row |= {"prompt_domain": ["中国"]} if number % 7 == 3 else {}
        lines.append("nonsense" if number % 5 == 4 else json.dumps(row, ensure_ascii=False))
    path.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture
def request_of_template_4(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> LoadRequest:
    """A request for 60 mixed rows, in which processes help from the sixth on."""
    small_parts(monkeypatch, 11)
    monkeypatch.setattr(dataset, "ROWS_ALONE", 5)
    monkeypatch.setattr(helpers, "ROWS_PER_BLOCK", 4)
    assert load_request.predict_file is not None
    write_mixed(load_request.predict_file, 60)
    return replace(load_request, template=4, max_seq_len=40)


def test_the_files_do_not_depend_on_the_number_of_processes(
    request_of_template_4: LoadRequest, tmp_path: Path
) -> None:
    found = []
    for count in (0, 1, 3):
        request = replace(request_of_template_4, folder=tmp_path / f"{count}")
        manifest = load_passages(request, count)
        files = {path.name: path.read_bytes() for path in Path(request.folder).iterdir()}
        found.append((manifest, files))
    assert found[0] == found[1] == found[2]
    details = found[0][0].details
    assert details["reject_reasons"] == {"not_json": 12, "template_does_not_fit": 7}
    assert details["cut"]
    assert not active_children()


def test_no_process_starts_for_few_rows(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_request.predict_file is not None
    write_mixed(load_request.predict_file, 30)
    monkeypatch.setattr(parallel, "Child", None)
    load_passages(load_request, 4)


def test_the_first_bad_row_is_told_though_others_were_read_ahead(
    request_of_template_4: LoadRequest, tmp_path: Path
) -> None:
    path = request_of_template_4.predict_file
    assert path is not None
    usable = json.dumps({"context": "长江", "answer": "长", **PROMPTS})
    misfit = json.dumps({"context": "长江", "answer": "长", **PROMPTS, "prompt_domain": []})
    path.write_text("\n".join([*[usable] * 20, misfit, usable, "nonsense"]))
    with pytest.raises(InputError, match=r"row 20, line 21: template_does_not_fit"):
        load_passages(replace(request_of_template_4, on_bad_row="fail"), 2)
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_that_is_killed_ends_the_stage_and_leaves_nothing_behind(
    request_of_template_4: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class KillsTheHelpers(parts.PartWriter):
        def add(self, passage: Passage, encoded: Encoded) -> None:
            super().add(passage, encoded)
            if passage.row == 30:
                for process in active_children():
                    process.kill()

    monkeypatch.setattr(dataset, "PartWriter", KillsTheHelpers)
    with pytest.raises(WorkerError, match=r"the tokenizer died .* memory runs short.*; run again"):
        load_passages(request_of_template_4, 2)
    assert list(tmp_path.iterdir()) == [request_of_template_4.predict_file]
    assert not active_children()


def test_a_model_that_a_process_cannot_read_is_told(load_request: LoadRequest) -> None:
    missing = replace(load_request, tokenizer=replace(load_request.tokenizer, folder=Path("/no")))
    rows = [Passage(0, None, "a", "长江", "长", None, None, ())]
    with Helpers(1, partial(make_tokenizer, missing)) as others, pytest.raises(ModelError):
        list(others.encode(rows))


@given(st.lists(st.integers(0, 9), max_size=40), st.booleans())
def test_blocks_are_the_rows_in_order_and_what_fails_comes_last(
    sizes: list[int], is_damaged: bool
) -> None:
    rows: list[Passage | Reject] = [
        Passage(row, None, "a", "c" * size, "", None, None, ())
        if size
        else Reject(row, None, None, Reason.NOT_JSON, "")
        for row, size in enumerate(sizes)
    ]

    def read() -> Iterator[Passage | Reject]:
        yield from rows
        if is_damaged:
            raise InputError("damaged")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helpers, "ROWS_PER_BLOCK", 5)
        patch.setattr(helpers, "CHARACTERS_PER_BLOCK", 20)
        blocks = []
        try:
            for block in cut_blocks(read()):
                blocks.append(block)
        except InputError:
            assert is_damaged
        else:
            assert not is_damaged
    assert [row for block in blocks for row in block] == rows
    for block in blocks:
        assert 1 <= len(block) <= 5
        assert sum(len(row.context) for row in block[:-1] if isinstance(row, Passage)) < 20
