"""Token ids of whole texts, compared with splitting each text alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.tokenization.words import WordSplitter
from tasks.evaluation.characters import CharacterSplitter
from tasks.evaluation.tokens import Tokenizer

SPLITS = {"words": WordSplitter().split, "characters": CharacterSplitter().split}
TOKENIZERS = {name: Tokenizer(split) for name, split in SPLITS.items()}
MIXED = st.text("长江在哪里？?Aab12. -,Σσέ가\u3000é😀\u302e\u1735\ufffd", max_size=12)


@pytest.mark.parametrize("name", SPLITS)
@given(texts=st.lists(MIXED | st.text(max_size=8), max_size=6))
def test_equal_tokens_have_equal_ids_whatever_is_beside_them(name: str, texts: list[str]) -> None:
    expected = [SPLITS[name](text) for text in texts]
    found = TOKENIZERS[name].tokenize(texts)
    ids = [found.read(which) for which in range(len(texts))]
    assert [len(one) for one in ids] == [len(one) for one in expected]
    pairs = {
        pair
        for one, other in zip(ids, expected, strict=True)
        for pair in zip(one, other, strict=True)
    }
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
