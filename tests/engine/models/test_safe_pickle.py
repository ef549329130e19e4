from __future__ import annotations

import collections
import pickle
from pathlib import Path

import numpy as np
import pytest

from tasks.engine.models.checkpoint import load_checkpoint
from tasks.engine.models.download import download_model, list_models
from tasks.engine.models.safe_pickle import check_weights
from tasks.errors import ModelError
from tests.support.engine_reference import Recipe, make_checkpoint
from tests.support.rehearsal import ROOT


class Harm:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.victim), "w")


def test_the_sample_checkpoint_holds_only_weights() -> None:
    check_weights(ROOT / "data/checkpoint")


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_in_any_protocol_of_paddle_save_are_accepted(tmp_path: Path, protocol: int) -> None:
    weights = collections.OrderedDict(a=np.ones((2, 3), np.float32), b=("name", np.zeros(2)))
    (tmp_path / "model_state.pdparams").write_bytes(pickle.dumps(weights, protocol))
    check_weights(tmp_path)


@pytest.mark.parametrize("hidden_in", ["alone", "weights", "object array"])
def test_a_checkpoint_that_would_run_code_is_refused_and_nothing_runs(
    tmp_path: Path, hidden_in: str
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", Recipe(0, vocab_size=50, hidden_size=16))
    victim = tmp_path / "harm"
    content: object = Harm(victim)
    if hidden_in == "weights":
        content = {"weight": np.ones(3), "extra": content}
    elif hidden_in == "object array":
        content = {"weight": np.array([content], dtype=object)}
    (checkpoint / "model_state.pdparams").write_bytes(pickle.dumps(content))
    with pytest.raises(ModelError, match=r"open.*trust_checkpoint"):
        load_checkpoint(checkpoint)
    assert not victim.exists()


def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "model_state.pdparams").write_bytes(b"\x80\x04 this is no pickle")
    with pytest.raises(ModelError, match=r"model_state\.pdparams cannot be read"):
        check_weights(tmp_path)


def test_a_name_that_paddlenlp_does_not_vouch_for_needs_trust(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"somebody/model.*trust_checkpoint"):
        download_model("somebody/model", tmp_path)


def test_the_names_read_from_the_source_are_those_that_paddlenlp_vouches_for() -> None:
    from paddlenlp.transformers import UNIMOTokenizer

    assert list_models() == list(UNIMOTokenizer.pretrained_init_configuration)
