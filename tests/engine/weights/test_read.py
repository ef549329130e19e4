"""Which files hold a checkpoint's weights: the same as for PaddleNLP's `from_pretrained`."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tasks.engine.model_files import ModelFiles
from tasks.engine.models.checkpoint import checkpoint_faults, load_checkpoint
from tasks.engine.paddle.runtime import Untyped, import_paddle, import_paddlenlp
from tasks.engine.weights.pickled import Array
from tasks.engine.weights.read import read_weights
from tasks.errors import ModelError
from tests.support.engine_reference import Recipe, make_checkpoint, write_vocabulary

RECIPE = Recipe(5, vocab_size=60, hidden_size=16)
PICKLED, SAFE = "model_state.pdparams", "model.safetensors"
KINDS = {
    "pdparams": {},
    "pdparams, sharded": {"max_shard_size": "20KB"},
    "safetensors": {"safe_serialization": True},
    "safetensors, sharded": {"safe_serialization": True, "max_shard_size": "20KB"},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("original"), RECIPE)


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def save_as(original: Path, folder: Path, kind: str, dtype: str = "float32") -> Path:
    """Save a checkpoint again with PaddleNLP, in another format."""
    model = reference(original).to(dtype=dtype)
    model.save_pretrained(str(folder), **KINDS[kind])
    write_vocabulary(folder, RECIPE.vocab_size)
    return folder


def reference(folder: Path) -> Untyped:
    model_class = import_paddlenlp().transformers.UNIMOLMHeadModel
    return model_class.from_pretrained(str(folder), dtype="float32")


def is_loaded_as_by_paddlenlp(folder: Path) -> bool:
    expected, found = reference(folder).state_dict(), load_checkpoint(folder).model.state_dict()
    return list(expected) == list(found) and all(
        found[name].numpy().tobytes() == expected[name].numpy().tobytes() for name in expected
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_loaded_as_paddlenlp_loads_it(
    original: Path, tmp_path: Path, kind: str, dtype: str
) -> None:
    folder = save_as(original, tmp_path / "model", kind, dtype)
    assert len(list(folder.glob("*.pdparams")) + list(folder.glob("*.safetensors"))) > (
        1 if "sharded" in kind else 0
    )
    assert is_loaded_as_by_paddlenlp(folder)


def double(folder: Path, kind: str, other: Path) -> None:
    """Put weights of twice the size, saved as `kind`, into a folder that has others."""
    model = reference(folder)
    for parameter in model.parameters():
        parameter.set_value(parameter * 2)
    model.save_pretrained(str(other), **KINDS[kind])
    for path in other.iterdir():
        shutil.copyfile(path, folder / path.name)


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_formats_the_same_one_counts_as_for_paddlenlp(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    before = load_checkpoint(folder).model.state_dict()["unimo.encoder_norm.weight"].numpy()
    double(folder, kind, tmp_path / "other")
    assert is_loaded_as_by_paddlenlp(folder)
    after = load_checkpoint(folder).model.state_dict()["unimo.encoder_norm.weight"].numpy()
    assert np.array_equal(after, 2 * before)


def test_files_of_pytorch_are_ignored_or_refused(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    assert is_loaded_as_by_paddlenlp(folder)
    weights = dict(read_weights(ModelFiles.of_model(folder)))
    for metadata in ({"format": "pt"}, None):
        save_file({name: array.copy() for name, array in weights.items()}, folder / SAFE, metadata)
        with pytest.raises(ModelError, match=r"model.safetensors cannot be read: its metadata has"):
            load_checkpoint(folder)


def write_safetensors(path: Path, weights: dict[str, Array], dtype: str) -> None:
    """Write arrays in the format of safetensors, byte by byte, as weights of one dtype."""
    header: dict[str, object] = {"__metadata__": {"format": "np"}}
    end = 0
    for name, array in weights.items():
        first, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [first, end]}
    text = json.dumps(header).encode()
    content = b"".join(array.tobytes() for array in weights.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)


def test_the_bfloat16_of_safetensors_is_loaded_as_that_of_paddle(
    original: Path, tmp_path: Path
) -> None:
    folder = save_as(original, tmp_path / "model", "safetensors", "bfloat16")
    expected = load_checkpoint(folder).model.state_dict()
    bits = load_file(folder / SAFE)
    assert {array.dtype for array in bits.values()} == {np.dtype("uint16")}
    write_safetensors(folder / SAFE, bits, "BF16")
    found = load_checkpoint(folder).model.state_dict()
    assert all(found[name].numpy().tobytes() == expected[name].numpy().tobytes() for name in found)


def test_a_dtype_that_numpy_does_not_have_is_refused(folder: Path) -> None:
    write_safetensors(folder / SAFE, {"w": np.zeros(1, np.uint8)}, "F8_E4M3")
    with pytest.raises(ModelError, match=r"model.safetensors cannot be read: .* dtype F8_E4M3"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", [PICKLED, SAFE])
@pytest.mark.parametrize("size", [0, 3, 1000])
def test_a_file_that_is_cut_off_is_refused(
    original: Path, tmp_path: Path, name: str, size: int
) -> None:
    folder = save_as(original, tmp_path / "model", "safetensors" if name == SAFE else "pdparams")
    os.truncate(folder / name, size)
    with pytest.raises(ModelError, match=rf"{name} cannot be read"):
        load_checkpoint(folder)


class Harm:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.victim), "w")


def write_index(folder: Path, first: str, places: object) -> None:
    content = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{first}.index.json").write_text(json.dumps(content))


@pytest.mark.parametrize("first", [PICKLED, SAFE])
@pytest.mark.parametrize(
    "shard",
    ["weights.bin", "../harm.pdparams", "{}/harm.pdparams", "sub/harm.pdparams", "..", "", "a\0b"],
)
def test_an_index_names_only_files_of_weights_in_the_folder(
    folder: Path, tmp_path: Path, first: str, shard: str
) -> None:
    victim = tmp_path / "victim"
    for place in (folder, folder.parent, folder / "sub"):
        place.mkdir(exist_ok=True)
        for name in ("weights.bin", "harm.pdparams"):
            (place / name).write_bytes(pickle.dumps({"w": Harm(victim)}))
    write_index(folder, first, {"unimo.encoder_norm.weight": shard.format(folder.parent)})
    with pytest.raises(ModelError, match=r"index.json names .* which is no \.\w+ file"):
        load_checkpoint(folder)
    assert any("index.json names" in fault for fault in checkpoint_faults(folder))
    assert not victim.exists()


@pytest.mark.parametrize("places", [None, [], {"w": 1}, {"w": ["a.pdparams"]}, "text"])
def test_an_index_that_is_none_is_refused(folder: Path, places: object) -> None:
    write_index(folder, PICKLED, places)
    with pytest.raises(ModelError, match="no JSON object with a `weight_map`"):
        load_checkpoint(folder)
    (folder / f"{PICKLED}.index.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="no JSON object with a `weight_map`"):
        load_checkpoint(folder)


def test_harm_in_any_file_that_is_read_is_refused(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (folder / "a.pdparams").write_bytes(pickle.dumps({"w": Harm(victim)}))
    write_index(folder, PICKLED, {"w": "a.pdparams"})
    with pytest.raises(ModelError, match=r"a.pdparams cannot be read: it has a call of _?io.open"):
        load_checkpoint(folder)
    (folder / f"{PICKLED}.index.json").unlink()
    (folder / PICKLED).write_bytes(pickle.dumps({"w": Harm(victim)}))
    with pytest.raises(ModelError, match="nothing in it is executed"):
        load_checkpoint(folder)
    assert not victim.exists()


def test_a_missing_shard_is_named(original: Path, tmp_path: Path) -> None:
    folder = save_as(original, tmp_path / "model", "safetensors, sharded")
    lost = sorted(folder.glob("model-*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ModelError, match=rf"{lost.name}, which model.safetensors.index.json names"):
        load_checkpoint(folder)


def change_weights(folder: Path, **changes: Array | None) -> None:
    """Replace weights in the file, or remove those that are None."""
    paddle = import_paddle()
    weights = paddle.load(str(folder / PICKLED), return_numpy=True) | changes
    kept = {name: one for name, one in weights.items() if one is not None}
    paddle.save(kept, str(folder / PICKLED))


def test_all_weights_that_do_not_fit_are_named(folder: Path) -> None:
    wrong: dict[str, Array | None] = {
        "lm_head.transform.weight": np.zeros((3, 4), np.float32),
        "lm_head.transform.bias": np.zeros(16, np.int64),
        "lm_head.layer_norm.bias": None,
        "more.than.needed": np.zeros(3, np.int64),
    }
    change_weights(folder, **wrong)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(folder)
    for part in (
        "lm_head.transform.weight has the shape [3, 4], but the config needs [16, 16]",
        "lm_head.transform.bias has the dtype int64",
        "1 weights are missing: lm_head.layer_norm.bias",
    ):
        assert part in str(caught.value)
    assert "more.than.needed" not in str(caught.value)


def test_a_weight_under_the_name_of_the_inner_model_is_missing(folder: Path) -> None:
    """PaddleNLP ignores it if others have their full names, and keeps random weights instead."""
    weights = import_paddle().load(str(folder / PICKLED), return_numpy=True)
    name = "unimo.encoder_norm.weight"
    change_weights(folder, **{name: None, name.removeprefix("unimo."): weights[name]})
    with pytest.raises(ModelError, match=f"1 weights are missing: {name}"):
        load_checkpoint(folder)


def test_a_shared_weight_may_be_missing(folder: Path) -> None:
    change_weights(folder, **{"lm_head.decoder_weight": None})
    assert is_loaded_as_by_paddlenlp(folder)
