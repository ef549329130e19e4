import json
import sys
import zlib  # noqa: F401 before Paddle, which brings its own
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.engine.tokenizer import (
    Encoded,
    QuestionTokenizer,
    load_tokenizer,
    read_named_passages,
)
from tasks.errors import InputError, ModelError
from tasks.passage_files import read_passages
from tasks.passages import Passage, Reason, Reject, parse_record
from tasks.templates import fill_template, target_prefix

CMRC = Path(__file__).parents[2] / "shared" / "data" / "cmrc2018_trial_qg.jsonl"
SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
PIECES = "0123456789abcdefghijklmnopqrstuvwxyz"
COMMON = "的一是在有已知前提下中国长江河流大最问题答案上文：，。？！、“”（）《》[]" + PIECES
PASSAGE = Passage(0, 1, "a", "长江是中国最大的河流。", "长江", None, None, ())
PROMPTED = replace(PASSAGE, prompt_common="问题", prompt_domain=("中国", "长江", "river"))
Tokenizer = Any  # PaddleNLP publishes no types
ODD = [
    "\x00\x01长\x7f江",
    "\u200b\u200d\ufeff长",
    "👨‍👩‍👧 长江 🇨🇳",
    "e\u0301cole ÉCOLE",
    "a" * 150,
    "[CLS][SEP][MASK]##a ##的",
    "\u2028长\u2029江\x85",
    "𠀀𪚥\U000e0001",
    "ﬁ ﷺ ㍿",
    "长\ufffd江",
    "ｆｕｌｌ　ｗｉｄｔｈ",
]


def write_vocabulary(folder: Path, tokens: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{token}\t{index}\n" for index, token in enumerate(tokens)]
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokens = [*SPECIAL, *dict.fromkeys(COMMON), *(f"##{one}" for one in PIECES), "long"]
    return write_vocabulary(tmp_path_factory.mktemp("checkpoint"), tokens)


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> Tokenizer:
    from paddlenlp.transformers import UNIMOTokenizer

    return UNIMOTokenizer.from_pretrained(str(checkpoint))


def reference_tokens(
    reference: Tokenizer, passage: Passage, template: int, max_seq_len: int = 512
) -> tuple[list[int], list[int]]:
    source, title = fill_template(passage, template, "[CLS]", "[SEP]")
    encoded = reference.gen_encode(
        source,
        title=title,
        max_seq_len=max_seq_len,
        max_title_len=30 if max_seq_len > 60 else 4,
        max_target_len=1,
        add_start_token_for_decoding=True,
        return_position_ids=True,
    )
    return encoded["input_ids"], encoded["token_type_ids"]


@pytest.mark.parametrize("template", [0, 1, 2, 3])
@pytest.mark.parametrize("text", ODD)
def test_tokens_of_odd_text_are_those_of_gen_encode(
    checkpoint: Path, reference: Tokenizer, template: int, text: str
) -> None:
    tokenizer = QuestionTokenizer(checkpoint, template)
    for passage in (replace(PASSAGE, context=text), replace(PASSAGE, answer=text)):
        assert tokenizer.encode(passage) == reference_tokens(reference, passage, template)


@pytest.mark.parametrize("max_seq_len", [8, 40, 512])
@pytest.mark.parametrize("template", [0, 1])
def test_long_text_is_cut_as_gen_encode_cuts_it(
    checkpoint: Path, reference: Tokenizer, template: int, max_seq_len: int
) -> None:
    title = 30 if max_seq_len > 60 else 4
    tokenizer = QuestionTokenizer(checkpoint, template, max_seq_len, title)
    passage = replace(PASSAGE, context="长江是中国最大的河流。" * 99, answer="长江" * 50)
    encoded = tokenizer.encode(passage)
    assert isinstance(encoded, Encoded)
    assert encoded == reference_tokens(reference, passage, template, max_seq_len)
    assert len(encoded.input_ids) == max_seq_len


@settings(max_examples=300)
@given(
    context=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    answer=st.text(COMMON + "\u0301😀 ", min_size=1, max_size=60),
    template=st.sampled_from([0, 1, 4]),
)
def test_text_that_the_parser_accepts_can_be_encoded(
    tokenizers: dict[int, QuestionTokenizer], context: str, answer: str, template: int
) -> None:
    prompts = {"prompt_common": "问", "prompt_domain": ["a", "b", "c"]}
    record = {"context": context, "answer": answer, **prompts}
    passage = parse_record(record, 0, 1, template)
    if isinstance(passage, Passage):
        encoded = tokenizers[template].encode(passage)
        assert isinstance(encoded, Encoded)
        assert len(encoded.input_ids) == len(encoded.token_type_ids) <= 512
        # more than [CLS] title [SEP] source [SEP] [CLS] without a token of either text
        assert len(encoded.input_ids) >= 6


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6))
@example("\ufffd")
@example("\u0301\x85\u2028")
def test_text_counts_as_empty_exactly_when_it_has_no_token(reference: Tokenizer, text: str) -> None:
    outcome = parse_record({"context": text, "answer": "a"}, 0, 1, 0)
    is_empty = isinstance(outcome, Reject) and outcome.reason is Reason.EMPTY_FIELD
    assert is_empty == (reference._tokenize(text) == [])


@pytest.fixture(scope="session")
def tokenizers(checkpoint: Path) -> dict[int, QuestionTokenizer]:
    return {template: QuestionTokenizer(checkpoint, template) for template in range(5)}


@pytest.mark.skipif(not CMRC.exists(), reason=f"{CMRC.name} is not beside the project")
def test_tokens_of_real_passages_are_those_of_gen_encode(
    tmp_path: Path, tokenizers: dict[int, QuestionTokenizer]
) -> None:
    from paddlenlp.transformers import UNIMOTokenizer

    rows = [row for row in read_passages(CMRC, 1) if isinstance(row, Passage)]
    assert len(rows) == 1002
    characters = sorted({char for row in rows for char in row.context if not char.isspace()})
    tokens = [*SPECIAL, *characters, *(f"##{one}" for one in PIECES)]
    folder = write_vocabulary(tmp_path, list(dict.fromkeys(tokens)))
    reference = UNIMOTokenizer.from_pretrained(str(folder))
    for template in (0, 1):
        tokenizer = QuestionTokenizer(folder, template)
        for row in rows[template::2]:
            assert tokenizer.encode(row) == reference_tokens(reference, row, template)


# ---- template 4


def test_tokenizer_of_paddlenlp_never_finds_the_starts_of_template_4(reference: Tokenizer) -> None:
    # why never_split is set; when this fails, PaddleNLP has learnt it
    input_ids, _ = reference_tokens(reference, PROMPTED, 4)
    assert input_ids.count(reference.cls_token_id) == 2


def test_template_4_has_special_tokens_and_its_segments(
    tokenizers: dict[int, QuestionTokenizer], reference: Tokenizer
) -> None:
    source = fill_template(PROMPTED, 4, "[CLS]", "[SEP]").source
    # PretrainedTokenizer.tokenize knows special tokens, by other means than never_split
    ids = reference.convert_tokens_to_ids(reference.tokenize(source))
    encoded = tokenizers[4].encode(PROMPTED)
    assert isinstance(encoded, Encoded)
    assert encoded.input_ids == [1, *ids, 2, 1]
    tokens = reference.convert_ids_to_tokens(encoded.input_ids)
    starts = [at for at, token in enumerate(tokens) if token == reference.cls_token]
    assert len(starts) == 7
    for at, segment in enumerate(encoded.token_type_ids):
        part = sum(start <= at for start in starts)
        assert segment == {1: 2, 2: 3, 3: 3, 4: 3, 5: 0, 6: 0, 7: 1}[part]


@pytest.mark.parametrize(
    "passage",
    [
        replace(PROMPTED, prompt_domain=("中国",)),
        replace(PROMPTED, prompt_domain=("中国",) * 4),
        replace(PROMPTED, answer="长江" * 400),
        replace(PROMPTED, context="长江 [CLS] 中国"),
    ],
)
def test_row_without_the_parts_of_template_4_is_rejected(
    tokenizers: dict[int, QuestionTokenizer], passage: Passage
) -> None:
    outcome = tokenizers[4].encode(replace(passage, row=5, line=6, id="x"))
    assert isinstance(outcome, Reject)
    assert (outcome.row, outcome.line, outcome.id) == (5, 6, "x")
    assert outcome.reason is Reason.TEMPLATE_DOES_NOT_FIT


# ---- decoding


@pytest.mark.parametrize("template", range(5))
def test_question_is_what_was_written_up_to_the_end_token(
    tokenizers: dict[int, QuestionTokenizer], reference: Tokenizer, template: int
) -> None:
    written = target_prefix(template) + "问题的答案在long上"
    ids = reference.convert_tokens_to_ids(reference.tokenize(written))
    end = reference.mask_token_id
    assert tokenizers[template].end_id == end
    assert tokenizers[template].decode([*ids, end, *ids]) == "问题的答案在long上"
    assert tokenizers[template].decode(ids) == "问题的答案在long上"


def test_decoding_joins_pieces_and_leaves_unknown_tokens_out(
    tokenizers: dict[int, QuestionTokenizer], reference: Tokenizer
) -> None:
    tokens = ["##a", "long", "##e", "##r", "[UNK]", "的", "[UNK]", "##s", "？"]
    ids = reference.convert_tokens_to_ids(tokens)
    assert tokenizers[1].decode([*ids[:5], 99_999, *ids[5:]]) == "alonger的[UNK]s？"
    assert tokenizers[1].decode([]) == ""
    assert tokenizers[1].decode([reference.mask_token_id]) == ""


# ---- vocabulary


def test_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match=r"vocab.txt cannot be read"):
            load_tokenizer(folder)


@pytest.mark.parametrize("line", [b"no id\n", b"a\tb\n", b"a\t1\t2\n", b"\t5\n", b"\n", b"a\t-1\n"])
def test_malformed_vocabulary_is_refused_with_its_line(tmp_path: Path, line: bytes) -> None:
    write_vocabulary(tmp_path, SPECIAL)
    with (tmp_path / "vocab.txt").open("ab") as file:
        file.write(line)
    with pytest.raises(ModelError, match=r"vocab.txt, line 6: not a token"):
        load_tokenizer(tmp_path)


def test_vocabulary_that_is_not_utf8_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\t1\n")
    with pytest.raises(ModelError, match="is not UTF-8"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("missing", SPECIAL[:4])
def test_vocabulary_without_a_special_token_is_refused(tmp_path: Path, missing: str) -> None:
    write_vocabulary(tmp_path, [*(token for token in SPECIAL if token != missing), "的"])
    with pytest.raises(ModelError, match="lacks"):
        load_tokenizer(tmp_path)


def test_folder_with_the_name_of_a_published_model_is_read_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vocabulary(tmp_path / "unimo-text-1.0", [*SPECIAL, "的"])
    monkeypatch.chdir(tmp_path)
    assert load_tokenizer("unimo-text-1.0").vocab_size == 6


# ---- named data sets

BUILDER = """
from collections import namedtuple
from paddlenlp.datasets import dureader_qg

class LocalQG(dureader_qg.DuReaderQG):
    SPLITS = {{"dev": namedtuple("Meta", "file md5 url")("dev.json", None, "{url}")}}
"""


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """PaddleNLP's own DuReaderQG builder, under a name and with a file of this test."""
    from paddlenlp import datasets
    from paddlenlp.datasets import dataset, dureader_qg

    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "code")])
    monkeypatch.setattr(dataset, "DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(dureader_qg, "DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "code").mkdir()
    (tmp_path / "data" / "LocalQG").mkdir(parents=True)
    yield tmp_path
    sys.modules.pop("paddlenlp.datasets.local_qg", None)


def install(home: Path, text: str) -> None:
    code = BUILDER.format(url="http://127.0.0.1:9/dev.json")
    (home / "code" / "local_qg.py").write_text(code, encoding="utf-8")
    (home / "data" / "LocalQG" / "dev.json").write_text(text, encoding="utf-8")


def test_named_data_set_is_read_as_passages(data_home: Path) -> None:
    row = {"context": "长江很长。", "answer": "长江", "question": "哪条江？", "id": 3}
    install(data_home, (json.dumps(row) + "\n\n") * 2)
    outcomes = [
        parse_record(record, at, None, 1)
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


def test_data_set_that_cannot_be_downloaded_is_refused(data_home: Path) -> None:
    install(data_home, "")
    (data_home / "data" / "LocalQG" / "dev.json").unlink()
    with pytest.raises(InputError, match=r"check the network, or give a file in `dataset.predict_"):
        next(read_named_passages("local_qg"))


@pytest.mark.parametrize("name", ["no_such_set", "../x", "a.b", ""])
def test_unknown_data_set_is_refused_without_a_download(name: str) -> None:
    with pytest.raises(InputError, match="PaddleNLP has no data set"):
        next(read_named_passages(name))
