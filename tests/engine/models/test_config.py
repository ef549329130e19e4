"""The reader of model configurations of every layout, compared with PaddleNLP's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.engine.faster_transformer.compatibility import model_faults
from tasks.engine.models.checkpoint import checkpoint_faults
from tasks.engine.models.config import ModelConfig, parse_config, read_config
from tasks.engine.models.memory import read_size
from tasks.engine.paddle.runtime import import_paddlenlp
from tests.support.older_checkpoints import LAYOUTS, write_layout

SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "vocab_size": 60,
    "max_position_embeddings": 64,
    "type_vocab_size": 5,
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A configuration written by PaddleNLP's `save_pretrained`."""
    folder = tmp_path / "saved"
    config = import_paddlenlp().transformers.UNIMOConfig(**SIZES, normalize_before=True)
    config.architectures = ["UNIMOLMHeadModel"]
    config.save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_as_paddlenlp_reads_it(saved: Path, layout: str) -> None:
    write_layout(saved, layout)
    expected = import_paddlenlp().transformers.UNIMOConfig.from_pretrained(str(saved))
    found = read_config(saved).model_dump()
    assert found.pop("architecture") == "UNIMOLMHeadModel"
    assert found == {name: getattr(expected, name) for name in found}
    assert found == {**SIZES, "normalize_before": True}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_who_read_a_configuration_read_the_same(saved: Path, layout: str) -> None:
    write_layout(saved, layout)
    assert not any("is for" in fault for fault in checkpoint_faults(saved))
    size = read_size(saved)
    assert size is not None
    assert (size.layers, size.positions) == (3, 64)
    problems = " ".join(str(fault) for fault in model_faults(saved))
    for part in ("heads have size 12", "intermediate_size 40", "normalize_before"):
        assert part in problems, part


def test_todays_name_counts_where_both_are_there(saved: Path) -> None:
    (saved / "model_config.json").write_text('{"init_class": "BertModel", "hidden_size": 8}')
    assert read_config(saved).hidden_size == 24


def test_what_a_config_says_outside_wins_as_in_paddlenlp(tmp_path: Path) -> None:
    older = {"hidden_size": 8, "init_args": [{"hidden_size": 16, "vocab_size": 9}]}
    (tmp_path / "model_config.json").write_text(json.dumps(older))
    expected = import_paddlenlp().transformers.UNIMOConfig.from_pretrained(str(tmp_path))
    found = read_config(tmp_path)
    assert (found.hidden_size, found.vocab_size) == (expected.hidden_size, expected.vocab_size)
    assert (found.hidden_size, found.vocab_size) == (8, 9)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*ModelConfig.model_fields, "architectures", "init_args", "init_class"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_configuration_is_too_strange_to_be_read(content: object) -> None:
    found = parse_config(content)
    sizes = (getattr(found, name) for name in SIZES)
    assert all(size is None or size > 0 for size in sizes)


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "\xff", "[" * 100_000])
def test_a_config_that_is_none_tells_nothing_and_is_a_fault(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    assert read_config(tmp_path) == ModelConfig()
    assert any("config.json" in fault for fault in checkpoint_faults(tmp_path))
