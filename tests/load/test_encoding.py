import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.engine.tokenization.tokenizer import load_paddlenlp_tokenizer
from tasks.errors import ModelError
from tasks.load.encoding import Cut, Encoded, QuestionTokenizer
from tasks.load.templates import remove_target_prefix, target_prefix
from tasks.passages.fields import BY_NAME, Fields
from tasks.passages.records import Passage, Reason, Reject, parse_record
from tests.support.tokenizer_reference import (
    COMMON,
    PASSAGE,
    SPECIAL,
    Tokenizer,
    load_reference,
    reference_tokens,
    source_text,
    write_common_vocabulary,
    write_vocabulary,
)

PROMPTED = replace(PASSAGE, prompt_common="问题", prompt_domain=("中国", "长江", "river"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_common_vocabulary(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> Tokenizer:
    return load_reference(checkpoint)


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
    passage = parse_record(record, 0, 1, Fields.of(None, template))
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
    outcome = parse_record({"context": text, "answer": "a"}, 0, 1, BY_NAME)
    is_empty = isinstance(outcome, Reject) and outcome.reason is Reason.EMPTY_FIELD
    assert is_empty == (reference._tokenize(text) == [])


@pytest.fixture(scope="session")
def tokenizers(checkpoint: Path) -> dict[int, QuestionTokenizer]:
    return {template: QuestionTokenizer(checkpoint, template) for template in range(5)}


# ---- template 4


def test_tokenizer_of_paddlenlp_never_finds_the_starts_of_template_4(reference: Tokenizer) -> None:
    # the reason for never_split; if this fails, PaddleNLP no longer needs it
    input_ids, _ = reference_tokens(reference, PROMPTED, 4)
    assert input_ids.count(reference.cls_token_id) == 2


def test_template_4_has_special_tokens_and_its_segments(
    tokenizers: dict[int, QuestionTokenizer], reference: Tokenizer
) -> None:
    source = source_text(reference, PROMPTED, 4)
    # PretrainedTokenizer.tokenize handles special tokens in another way than never_split
    ids = reference.convert_tokens_to_ids(reference.tokenize(source))
    encoded = tokenizers[4].encode(PROMPTED)
    assert isinstance(encoded, Encoded)
    assert encoded.input_ids.tolist() == [1, *ids, 2, 1]
    tokens = reference.convert_ids_to_tokens(encoded.input_ids.tolist())
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
        # one [CLS] in a text and one that is cut off must not add up
        replace(PROMPTED, answer=" [CLS] " + "长江" * 400),
    ],
)
def test_row_without_the_parts_of_template_4_is_rejected(
    tokenizers: dict[int, QuestionTokenizer], passage: Passage
) -> None:
    outcome = tokenizers[4].encode(replace(passage, row=5, line=6, id="x"))
    assert isinstance(outcome, Reject)
    assert (outcome.row, outcome.line, outcome.id) == (5, 6, "x")
    assert outcome.reason is Reason.TEMPLATE_DOES_NOT_FIT


# ---- special tokens in a text

SPECIAL_TEXTS = [
    *SPECIAL,
    "[cls]",
    " [SEP] ",
    "\u200b[MASK]",
    "[CLS][SEP]",
    "长",
    "江 ",
    "long",
    "##e",
]
TEXTS = st.lists(st.sampled_from(SPECIAL_TEXTS), min_size=1, max_size=12).map("".join)
# of templates 0 to 4: [CLS] and [SEP] that the encoding itself puts into a row
STRUCTURE = [(2, 2), (2, 1), (2, 1), (2, 1), (7, 6)]


@given(TEXTS, TEXTS, TEXTS, st.lists(TEXTS, min_size=3, max_size=3), st.integers(0, 4))
def test_text_never_becomes_a_special_token(
    tokenizers: dict[int, QuestionTokenizer],
    reference: Tokenizer,
    context: str,
    answer: str,
    common: str,
    domains: list[str],
    template: int,
) -> None:
    prompts = {"prompt_common": common, "prompt_domain": domains}
    record = {"context": context, "answer": answer, **prompts}
    passage = parse_record(record, 0, 1, Fields.of(None, template))
    assert isinstance(passage, Passage)
    encoded = tokenizers[template].encode(passage)
    assert isinstance(encoded, Encoded)
    counts = [encoded.input_ids.tolist().count(reference.vocab[token]) for token in SPECIAL]
    assert counts[:4] == [0, *STRUCTURE[template], 0]
    assert encoded.unknown_tokens == counts[4]


def test_a_word_that_is_a_special_token_of_an_unusual_checkpoint_is_unknown(
    tmp_path: Path,
) -> None:
    write_common_vocabulary(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text('{"sep_token": "long"}')
    tokenizer = QuestionTokenizer(tmp_path)
    encoded = tokenizer.encode(replace(PASSAGE, context="long 长江"))
    assert isinstance(encoded, Encoded)
    separator = load_reference(tmp_path).sep_token_id
    assert encoded.input_ids.tolist().count(separator) == 1
    assert encoded.unknown_tokens == 2  # in the passage, and the template's own in front of it


# ---- what the model does not see


@settings(max_examples=200)
@given(
    context=st.text(COMMON + " 😀\u0301", min_size=1, max_size=80),
    answer=st.text(COMMON + "Σ ", min_size=1, max_size=30),
    template=st.integers(0, 4),
    max_seq_len=st.integers(8, 60),
    max_title_len=st.integers(1, 30),
)
def test_a_row_counts_as_cut_exactly_when_it_would_be_longer(
    checkpoint: Path,
    context: str,
    answer: str,
    template: int,
    max_seq_len: int,
    max_title_len: int,
) -> None:
    passage = replace(PROMPTED, context=context, answer=answer)
    lengths = max_seq_len, min(max_title_len, max_seq_len - 4)
    short = QuestionTokenizer(checkpoint, template, *lengths).encode(passage)
    whole = QuestionTokenizer(checkpoint, template, 512, 400).encode(passage)
    assert isinstance(whole, Encoded)
    assert whole.cut is None
    if isinstance(short, Encoded):
        assert (short.cut is None) == np.array_equal(short.input_ids, whole.input_ids)
        assert short.unknown_tokens == short.input_ids.tolist().count(4)


LONG = "洪泽湖位于江苏省。"  # of which three characters are in the vocabulary


@pytest.mark.parametrize("template", range(5))
@pytest.mark.parametrize(
    ("context", "answer", "cut"),
    [
        (LONG, "江", None),
        (LONG * 99, "江", Cut.PASSAGE_END),
        (LONG * 99 + "长城", "长城", Cut.ANSWER_IN_PASSAGE),
        ("长城" + LONG * 99, "长城", Cut.PASSAGE_END),
        (LONG * 99, "不在文中", Cut.PASSAGE_END),
        (LONG, "长江" * 400, Cut.ANSWER),
    ],
)
def test_what_is_cut_off_is_named(
    checkpoint: Path, template: int, context: str, answer: str, cut: Cut | None
) -> None:
    passage = replace(PROMPTED, context=context, answer=answer)
    encoded = QuestionTokenizer(checkpoint, template, 128).encode(passage)
    if template == 4 and cut is Cut.ANSWER:
        assert isinstance(encoded, Reject)
    else:
        assert isinstance(encoded, Encoded)
        assert encoded.cut is cut


@pytest.mark.parametrize(
    ("tokens", "answer", "cut"),
    [
        (5, "长江长", Cut.ANSWER),
        (5, "长江", Cut.WHOLE_PASSAGE),  # 答案：长江
        (14, "长江", Cut.WHOLE_PASSAGE),  # 答案：长江 [ s ##e ##p ] 上下文：
        (15, "长江", Cut.PASSAGE_END),
        (16, "长江", Cut.PASSAGE_END),
        (17, "长江", None),
    ],
)
def test_what_is_cut_off_depends_on_the_last_token_that_fits(
    checkpoint: Path, tokens: int, answer: str, cut: Cut | None
) -> None:
    passage = replace(PASSAGE, answer=answer, context="中国，")
    encoded = QuestionTokenizer(checkpoint, 1, tokens + 3, 1).encode(passage)
    assert isinstance(encoded, Encoded)
    assert encoded.cut is cut


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


@given(
    st.lists(st.sampled_from([*range(-1, 140), 10**6]) | st.integers(80, 95), max_size=30),
    st.integers(0, 4),
)
def test_any_output_is_decoded_as_paddlenlp_would(
    tokenizers: dict[int, QuestionTokenizer],
    reference: Tokenizer,
    output_ids: list[int],
    template: int,
) -> None:
    end = reference.mask_token_id
    written = output_ids[: output_ids.index(end)] if end in output_ids else output_ids
    known = [one for one in written if one in reference.vocab.idx_to_token]
    words = reference.merge_subword(reference.convert_ids_to_tokens(known))
    text = "".join(word for word in words if word != reference.unk_token)
    assert tokenizers[template].decode(output_ids) == remove_target_prefix(text, template)


# ---- vocabulary


def test_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError, match=r"vocab.txt cannot be read"):
            QuestionTokenizer(folder)


@pytest.mark.parametrize("line", [b"no id\n", b"a\tb\n", b"a\t1\t2\n", b"\t5\n", b"\n", b"a\t-1\n"])
def test_malformed_vocabulary_is_refused_with_its_line(tmp_path: Path, line: bytes) -> None:
    write_vocabulary(tmp_path, SPECIAL)
    with (tmp_path / "vocab.txt").open("ab") as file:
        file.write(line)
    with pytest.raises(ModelError, match=r"vocab.txt, line 6: not a token"):
        QuestionTokenizer(tmp_path)


def test_vocabulary_that_is_not_utf8_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\t1\n")
    with pytest.raises(ModelError, match="is not UTF-8"):
        QuestionTokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"")
    with pytest.raises(ModelError, match="cannot be loaded"):
        QuestionTokenizer(tmp_path)


@pytest.mark.parametrize("missing", SPECIAL)
def test_vocabulary_without_a_special_token_is_refused(tmp_path: Path, missing: str) -> None:
    write_vocabulary(tmp_path, [*(token for token in SPECIAL if token != missing), "的"])
    with pytest.raises(ModelError, match=r"vocab.txt lacks|\[UNK\] is not in token_to_idx"):
        QuestionTokenizer(tmp_path)


def test_folder_with_the_name_of_a_published_model_is_read_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_vocabulary(tmp_path / "unimo-text-1.0", [*SPECIAL, "的"])
    monkeypatch.chdir(tmp_path)
    assert load_paddlenlp_tokenizer("unimo-text-1.0").vocab_size == 6
    assert QuestionTokenizer("unimo-text-1.0").decode([5]) == "的"


def test_neither_encoding_nor_decoding_imports_paddle(checkpoint: Path) -> None:
    code = (
        "import sys\n"
        "from tasks.load.encoding import QuestionTokenizer\n"
        "from tasks.passages.records import Passage\n"
        f"tokenizer = QuestionTokenizer({str(checkpoint)!r})\n"
        "encoded = tokenizer.encode(Passage(0, 1, 'a', '长江ΑΣ', '江', None, None, ()))\n"
        "print(tokenizer.decode(encoded.input_ids.tolist()))\n"
        "assert not {'paddle', 'paddlenlp'} & set(sys.modules)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "长江" in ended.stdout


def test_of_a_token_or_an_id_that_stands_twice_the_last_counts_as_in_paddlenlp(
    tmp_path: Path,
) -> None:
    tokens = [*SPECIAL, "的", "江", "长"]
    lines = [f"{token}\t{index}\n" for index, token in enumerate(tokens)]
    (tmp_path / "vocab.txt").write_text("".join([*lines, "的\t9\n", "河\t6\n"]), encoding="utf-8")
    reference = load_reference(tmp_path)
    tokenizer = QuestionTokenizer(tmp_path)
    passage = replace(PASSAGE, context="的江长河")
    encoded = tokenizer.encode(passage)
    assert isinstance(encoded, Encoded)
    assert [ids.tolist() for ids in encoded[:2]] == [*reference_tokens(reference, passage, 1)]
    for index in range(12):
        expected = reference.vocab.idx_to_token.get(index, "").replace("[UNK]", "")
        assert tokenizer.decode([index]) == (expected if index != 3 else "")
