"""The tokens are exactly those of PaddleNLP's tokenizer, whatever the text."""

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.engine.tokenization import wordpiece as word_pieces
from tasks.engine.tokenization.wordpiece import WordPieces
from tasks.engine.tokenization.words import CONTEXTUAL
from tasks.errors import ModelError
from tasks.load.encoding import Encoded, QuestionTokenizer
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reject
from tests.support.rehearsal import ROOT
from tests.support.tokenizer_reference import (
    PASSAGE,
    PIECES,
    SPECIAL,
    Tokenizer,
    load_reference,
    make_faster,
    reference_tokens,
    write_common_vocabulary,
    write_vocabulary,
)

CMRC = ROOT.parent / "shared" / "data" / "cmrc2018_trial_qg.jsonl"
ODD = [
    "\x00\x01长\x7f江",
    "\u200b\u200d\ufeff长",
    "👨‍👩‍👧 长江 🇨🇳",
    "e\u0301cole ÉCOLE",
    "a" * 100 + " " + "a" * 101,
    "[CLS][SEP][MASK]##a ##的",
    "\u2028长\u2029江\x85",
    "𠀀𪚥\U000e0001",
    "ﬁ ﷺ ㍿",
    "长\ufffd江",
    "ｆｕｌｌ　ｗｉｄｔｈ",
    "ΟΔΟΣ ΣΑΣ Σ ΑΣ\u00ad ΑΣ\u0001Α ΑΣ.Α Α\u0301Σ\u0301",
    "İSTANBUL ıI ẞß ǅ",
    "한국어 \u1112\u1161\u11ab",
    "\u0301 \u0301a \u302e\u302fa\u302f\u0316\u302e",
]
# Characters by what PaddleNLP does with them, as the two tokenizers could treat them differently.
KINDS = [
    "ΣσςΑαΆİIıiẞßǅǆÅÅÉéŸÇçØøµŋƱ²º\u00ad",
    "\u0301\u0300\u0327\u0316\u0345\u20dd\u0488\u05b0\u064b\u0e31\u3099",
    "\u302e\u302f\u1715\u1b44\ua953\U0001d157\U0001d15e\U0001d165\U0001d16d\U000111c0",
    "\t\n\r\x0b\x0c\x1c\x1f\x85\xa0 \u1680\u2000\u2028\u2029\u202f\u205f\u3000",
    "\x00\x01\x7f\u200b\u200c\u200d\u200e\u2060\ufeff\ufffd\ue000\uffff\U000e0001\U0010ffff",
    "\u33ff\u3400\u4dbf\u4dc0\u4dff一\u9fff\ua000\uf8ff豈\ufaff\ufb00〇々",
    "\U0001ffff\U00020000\U0002a6df\U0002a6e0\U0002a700\U0002ceaf\U0002ceb0\U0002f800\U0002fa1f",
    "가힣각각かがカﾞกำนّאً",
    "!$+<=>@[]^_`{|}~-·。、《》“”€©°±🙂❤\ufe0f\u20e3𝟘𝐀⁄\u037e\u0387\u1fef\u212a\u2126",
    PIECES + "ABCXYZ的长江",
]
TEXT = st.lists(
    st.sampled_from(KINDS).flatmap(st.sampled_from)
    | st.characters(exclude_categories=["Cs"])
    | st.sampled_from(["[CLS]", "[SEP]", " [CLS] ", "[cls]", "[UNK]", "##a", "a" * 50, "1" * 101]),
    max_size=30,
).map("".join)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_common_vocabulary(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def references(checkpoint: Path) -> dict[int, Tokenizer]:
    return {template: load_reference(checkpoint) for template in range(5)}


@pytest.fixture(scope="session")
def cut_by_paddlenlp() -> Callable[..., list[str]]:
    """A function that tokenizes a text with PaddleNLP's own classes and any vocabulary."""
    paddlenlp = import_paddlenlp()

    def cut(text: str, vocabulary: dict[str, int], **options: object) -> list[str]:
        pieces = paddlenlp.transformers.WordpieceTokenizer(vocabulary, "[UNK]")
        words = paddlenlp.transformers.BasicTokenizer(**options).tokenize(text)
        return [piece for word in words for piece in pieces.tokenize(word)]

    return cut


@pytest.mark.parametrize("lower_case", [True, False])
def test_every_character_becomes_what_paddlenlp_makes_of_it(lower_case: bool) -> None:
    reference = import_paddlenlp().transformers.BasicTokenizer(do_lower_case=lower_case)
    # next to a letter, to see what it becomes; of those that are just dropped, one in 31
    kinds = {one: unicodedata.category(one) for one in map(chr, range(0x110000))}
    gone = {"Cn", "Co", "Cs"}
    texts = [f"a{one} " for one, kind in kinds.items() if kind not in gone or ord(one) % 31 == 0]
    joined = ["".join(texts[start : start + 256]) for start in range(0, len(texts), 256)]
    words = [reference.tokenize(text) for text in joined]
    known = dict.fromkeys(["[UNK]", *chain.from_iterable(words)])
    vocabulary = {word: at for at, word in enumerate(known)}
    pieces = WordPieces(vocabulary, "[UNK]", lower_case)
    for text, expected in zip(joined, words, strict=True):
        assert pieces.first_ids(text, 9999).tolist() == [vocabulary[word] for word in expected]


def test_every_character_that_depends_on_others_is_known() -> None:
    for one in map(chr, range(0x110000)):
        parts = unicodedata.normalize("NFD", one.lower())
        moves = [part for part in parts if unicodedata.combining(part)]
        if one == "Σ" or any(unicodedata.category(part) != "Mn" for part in moves):
            assert CONTEXTUAL.match(one), hex(ord(one))


@settings(max_examples=500)
@given(
    text=TEXT,
    lower_case=st.booleans(),
    without=st.sets(st.sampled_from(PIECES + "σς的\u302e\u302f"), max_size=3),
)
@example("ΑΣ\u0001Α", True, set())
def test_any_text_is_cut_as_paddlenlp_cuts_it(
    cut_by_paddlenlp: Callable[..., list[str]],
    text: str,
    lower_case: bool,
    without: set[str],
) -> None:
    # every character is in the vocabulary, so that [UNK] does not hide differences
    forms = text, text.lower(), unicodedata.normalize("NFD", text + text.lower())
    characters = sorted({*"".join(forms), "σ", "ς"} - without)
    tokens = [*SPECIAL, *characters, *(f"##{one}" for one in characters)]
    vocabulary = {token: at for at, token in enumerate(tokens)}
    words = cut_by_paddlenlp(text, vocabulary, do_lower_case=lower_case)
    expected = [vocabulary[one] for one in words]
    pieces = WordPieces(vocabulary, "[UNK]", lower_case)
    assert pieces.first_ids(text, 9999).tolist() == expected
    assert pieces.first_ids(text, 3).tolist() == expected[:3]


@settings(max_examples=200)
@given(
    context=TEXT,
    answer=TEXT,
    template=st.integers(0, 4),
    max_seq_len=st.integers(8, 80),
    max_title_len=st.integers(1, 76),
)
def test_tokens_of_any_passage_are_those_of_gen_encode(
    checkpoint: Path,
    references: dict[int, Tokenizer],
    context: str,
    answer: str,
    template: int,
    max_seq_len: int,
    max_title_len: int,
) -> None:
    lengths = max_seq_len, min(max_title_len, max_seq_len - 4)
    passage = replace(
        PASSAGE, context=context, answer=answer, prompt_common="问", prompt_domain=("a", "b", "c")
    )
    encoded = QuestionTokenizer(checkpoint, template, *lengths).encode(passage)
    reference = references[template]
    if template != 4:
        ids, types = reference_tokens(reference, passage, template, *lengths)
        assert isinstance(encoded, Encoded)
        assert (encoded.input_ids.tolist(), encoded.token_type_ids.tolist()) == (ids, types)
        return
    parts = template_4_ids(reference, passage)
    if isinstance(encoded, Encoded):
        assert encoded.input_ids.tolist() == [*parts[: max_seq_len - 2], *END]
    else:
        context = 3 + len(reference._tokenize(context))  # with 上下文：, of which ： is one more
        assert len(parts) - context - 1 > max_seq_len - 2


END = (2, 1)  # [SEP] and the start token, [CLS]


def template_4_ids(reference: Tokenizer, passage: Passage) -> list[int]:
    """Return the ids up to the context: texts as PaddleNLP cuts them, special tokens between."""
    domains = (("[CLS]", domain, "[SEP]") for domain in passage.prompt_domain)
    parts = [
        *("[CLS]", passage.prompt_common, "[SEP]"),
        *chain.from_iterable(domains),
        *("[CLS]", f"答案：{passage.answer}", "[SEP]", "[CLS]", f"上下文：{passage.context}"),
    ]
    tokens = [[one] if at % 3 != 1 else reference._tokenize(one) for at, one in enumerate(parts)]
    return list(reference.convert_tokens_to_ids(list(chain.from_iterable(tokens))))


@pytest.mark.parametrize("template", [0, 1, 2, 3])
@pytest.mark.parametrize("text", ODD)
def test_tokens_of_odd_text_are_those_of_gen_encode(
    checkpoint: Path, references: dict[int, Tokenizer], template: int, text: str
) -> None:
    tokenizer = QuestionTokenizer(checkpoint, template)
    for passage in (replace(PASSAGE, context=text), replace(PASSAGE, answer=text)):
        expected = reference_tokens(references[template], passage, template)
        encoded = tokenizer.encode(passage)
        assert isinstance(encoded, Encoded)
        assert (encoded.input_ids.tolist(), encoded.token_type_ids.tolist()) == expected


@pytest.mark.parametrize("max_seq_len", [8, 40, 512])
@pytest.mark.parametrize("template", [0, 1])
def test_long_text_is_cut_as_gen_encode_cuts_it(
    checkpoint: Path, references: dict[int, Tokenizer], template: int, max_seq_len: int
) -> None:
    lengths = max_seq_len, 30 if max_seq_len > 60 else 4
    tokenizer = QuestionTokenizer(checkpoint, template, *lengths)
    passage = replace(PASSAGE, context="长江是中国最大的河流。" * 99, answer="长江" * 50)
    encoded = tokenizer.encode(passage)
    assert isinstance(encoded, Encoded)
    expected = reference_tokens(references[template], passage, template, *lengths)
    assert (encoded.input_ids.tolist(), encoded.token_type_ids.tolist()) == expected
    assert len(encoded.input_ids) == max_seq_len


@pytest.mark.skipif(not CMRC.exists(), reason=f"{CMRC.name} is not beside the project")
@pytest.mark.parametrize("template", range(5))
def test_tokens_of_real_passages_are_those_of_gen_encode(tmp_path: Path, template: int) -> None:
    rows = [row for row in read_passages(CMRC, 1) if isinstance(row, Passage)]
    assert len(rows) == 1002
    characters = sorted({char for row in rows for char in row.context if not char.isspace()})
    folder = write_vocabulary(tmp_path, [*SPECIAL, *characters, *(f"##{one}" for one in PIECES)])
    reference = make_faster(load_reference(folder, template))
    tokenizer = QuestionTokenizer(folder, template)
    for row in rows:
        passage = replace(row, prompt_common="问题", prompt_domain=("中国", "长江", "river"))
        encoded = tokenizer.encode(passage)
        expected = reference_tokens(reference, passage, template)
        assert isinstance(encoded, Encoded)
        assert encoded.input_ids.tolist() == expected[0]
        assert template == 4 or encoded.token_type_ids.tolist() == expected[1]


def test_more_words_than_are_kept_are_cut_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_pieces, "WORDS_KEPT", 40)
    pieces = WordPieces({"[UNK]": 0, "a": 1, "##0": 2, "##1": 3}, "[UNK]")
    words = [f"a{number:b}" for number in range(90)]
    expected = [[1, *(2 + int(digit) for digit in word[1:])] for word in words]
    for _ in range(2):
        assert [pieces.first_ids(word, 99).tolist() for word in words] == expected


# ---- options of a checkpoint's own


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer_config.json", {"do_lower_case": False}),
        ("tokenizer_config.json", {"do_lower_case": True, "model_max_length": 513}),
        ("tokenizer_config.json", {"do_lower_case": 0, "tokenizer_class": "UNIMOTokenizer"}),
        ("tokenizer_config.json", {"cls_token": "[MASK]", "mask_token": "[CLS]"}),
        ("special_tokens_map.json", {"sep_token": "[PAD]"}),
        ("special_tokens_map.json", {"additional_special_tokens": ["long"]}),
        ("added_tokens.json", {"YANGTZE": 116}),
    ],
)
@pytest.mark.parametrize("template", [0, 1, 4])
def test_options_of_a_checkpoint_are_followed_as_paddlenlp_follows_them(
    tmp_path: Path, file: str, content: dict[str, object], template: int
) -> None:
    write_common_vocabulary(tmp_path)
    (tmp_path / file).write_text(json.dumps(content))
    reference = load_reference(tmp_path, template)
    tokenizer = QuestionTokenizer(tmp_path, template)
    passage = replace(
        PASSAGE, context="YANGTZE É long 长江", prompt_common="问", prompt_domain=("a", "b", "c")
    )
    expected = reference_tokens(reference, passage, template)
    encoded = tokenizer.encode(passage)
    assert not isinstance(encoded, Reject)
    assert encoded.input_ids.tolist() == expected[0]
    assert template == 4 or encoded.token_type_ids.tolist() == expected[1]
    special = tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id
    assert special == (reference.cls_token_id, reference.mask_token_id, reference.pad_token_id)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"padding_side": "up"}',
        pytest.param('{"init_args": [1, 2]}', marks=pytest.mark.paddle2),  # 3 ignores it
    ],
)
def test_options_that_paddlenlp_refuses_are_refused(tmp_path: Path, text: str) -> None:
    write_common_vocabulary(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(text)
    with pytest.raises(ModelError, match="cannot be loaded"):
        QuestionTokenizer(tmp_path)
