"""Our splitting into characters, compared with sacreBLEU's own tokenizer."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from tasks.evaluation.characters import CharacterSplitter

OURS, THEIRS = CharacterSplitter().split, TokenizerZh()
MIXED = st.text("问答，。Ａa1 .,-'/:$\t\u3000\u2010\u2a00\u2f90é😀\U00020000", max_size=20)


@given(MIXED | st.text(max_size=20))
@example(" .. ,-. 1.5-2 ,. a.b 1, 2-")
@example("3.-.5,，-- .")
def test_tokens_are_those_of_sacrebleu(text: str) -> None:
    assert OURS(text) == THEIRS(text).split()


def test_every_character_alone_and_between_digits() -> None:
    characters = [chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(characters), 256):
        for glue in ("", "1", "x "):
            text = glue.join(characters[start : start + 256])
            assert OURS(text) == THEIRS(text).split()
