"""FasterTransformer from export to results, with the tests' own operator on the CPU."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.config.settings import DecodeSettings, PredictSettings
from tasks.engine.batch import Row, check_generated, pad_rows
from tasks.engine.contract import Contract, read_contract
from tasks.engine.faster_transformer.export import Operators, export_faster_transformer
from tasks.engine.faster_transformer.paddlenlp_fixes import transferring_plain_tensors
from tasks.engine.inference.session import Session
from tasks.engine.paddle.custom_operators import load_operator
from tasks.engine.paddle.runtime import Untyped, import_paddle, import_paddlenlp, quiet
from tasks.errors import ExportError, PreflightError
from tasks.processes import call_in_child
from tasks.runs.find import find_results
from tasks.store.layout import Store
from tests.support.commands import RunFlow, made_once
from tests.support.engine_reference import (
    CLS,
    MASK,
    PAD,
    Recipe,
    load_reference,
    make_checkpoint,
    make_rows,
)
from tests.support.operator_library import (
    DUMP_VARIABLE,
    Given,
    build_operator,
    expected_tokens,
    library_in,
    read_dump,
)
from tests.support.rehearsal import ROOT, write_passages

pytestmark = pytest.mark.paddle2

ON_CPU = PredictSettings(device="cpu", cpu_threads=1)
BEAMS = DecodeSettings(num_beams=3, max_dec_len=12)
SEARCHES = {
    "three beams": BEAMS,
    "beams that do not end": DecodeSettings(num_beams=2, max_dec_len=5, min_dec_len=4),
    "greedy": DecodeSettings(decoding_strategy="greedy_search", max_dec_len=9),
    "topk": DecodeSettings(decoding_strategy="sampling", topk=7, temperature=0.6),
    "topp": DecodeSettings(decoding_strategy="sampling", topk=0, topp=0.9, min_dec_len=1),
}

Export = Callable[..., Contract]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library_in(made_once(tmp_path_factory, "operator", build_operator))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(3, vocab_size=90, hidden_size=64, num_attention_heads=2, num_hidden_layers=2)
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), recipe)


@pytest.fixture
def export(checkpoint: Path, library: Path, tmp_path: Path) -> Export:
    def export(decode: DecodeSettings, half: bool = False, of: Path = checkpoint) -> Contract:
        (tmp_path / "exported").mkdir()
        operators = Operators(library, is_half=half, device="cpu")
        return export_faster_transformer(of, decode, tmp_path / "exported", operators=operators)

    return export


def rows_of(contract: Contract, count: int = 9) -> list[Row]:
    return make_rows(5, count, contract.vocab_size, longest=60)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_best_sequence_of_each_row_comes_out_of_the_operators_buffers(
    name: str, export: Export, tmp_path: Path
) -> None:
    contract = export(SEARCHES[name])
    rows = rows_of(contract)
    session = Session(tmp_path / "exported", read_contract(tmp_path / "exported"), ON_CPU, "cpu")
    found = session.run(pad_rows(rows, PAD))
    special = contract.special_tokens
    expected = [[expected_tokens(row.input_ids, contract.decode, special)] for row in rows]
    assert found.tokens.tolist() == expected
    assert np.isnan(found.scores).all()
    # The sequence of a row does not depend on the lengths of its neighbors.
    alone = [session.run(pad_rows([row], PAD)).tokens[0].tolist() for row in rows]
    assert alone == expected


def padded_left(rows: list[Row], name: str) -> Untyped:
    """Pad rows on the left, as the example's `batchify_fn` does."""
    from paddlenlp.data import Pad

    return Pad(PAD, pad_right=False, dtype="int32")([getattr(row, name) for row in rows])


def paddlenlps_own_call(checkpoint: Path, library: Path, decode: DecodeSettings) -> None:
    """Call `FasterUNIMOText` in the dynamic graph with inputs as in the example's scripts."""
    paddle = import_paddle()
    load_operator(library)
    with quiet(), transferring_plain_tensors():
        from paddlenlp.ops import FasterUNIMOText

        model = FasterUNIMOText(load_reference(checkpoint), str(library), trans_out=True)
    rows = make_rows(5, 4, 90, longest=30)
    width = max(len(row.input_ids) for row in rows)
    mask = np.full([len(rows), 1, width, width], -1e9, "float32")
    for row, square in zip(rows, mask[:, 0], strict=True):
        length = len(row.input_ids)
        square[-length:, -length:] = 0.0
        square[-length:-1, -1] = -1e4  # only the start token attends to itself
    model.generate(
        paddle.to_tensor(padded_left(rows, "input_ids")),
        paddle.to_tensor(padded_left(rows, "token_type_ids")),
        paddle.to_tensor(mask),
        paddle.to_tensor(np.array([len(row.input_ids) for row in rows], "int32")),
        max_length=decode.max_dec_len,
        min_length=decode.min_dec_len,
        top_k=decode.topk,
        top_p=decode.topp,
        num_beams=decode.num_beams,
        decode_strategy="beam_search",
        bos_token_id=CLS,
        eos_token_id=MASK,
        pad_token_id=PAD,
        diversity_rate=decode.diversity_rate,
        length_penalty=decode.length_penalty,
        early_stopping=decode.early_stopping,
    )


def test_the_operator_gets_what_paddlenlps_own_call_gives_it(
    export: Export,
    checkpoint: Path,
    library: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decode = DecodeSettings(
        num_beams=4, min_dec_len=2, diversity_rate=0.4, length_penalty=0.7, early_stopping=True
    )
    import_paddlenlp()
    contract = export(decode)
    session = Session(tmp_path / "exported", contract, ON_CPU, "cpu")
    calls: list[Given] = []
    for name, call in {
        "ours": lambda: session.run(pad_rows(make_rows(5, 4, 90, longest=30), PAD)),
        "theirs": lambda: paddlenlps_own_call(checkpoint, library, decode),
    }.items():
        monkeypatch.setenv(DUMP_VARIABLE, str(tmp_path / name))
        call()
        calls.append(read_dump(tmp_path / name))
    ours, theirs = calls
    assert ours.attributes == theirs.attributes
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, tensors in ours.tensors.items():
        for mine, other in zip(tensors, theirs.tensors[name], strict=True):
            assert mine.dtype == other.dtype, name
            np.testing.assert_array_equal(mine, other, name)


def test_half_precision_gives_the_operator_the_checkpoints_weights_rounded(
    export: Export, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DUMP_VARIABLE, str(tmp_path / "dump"))
    contract = export(BEAMS, half=True)
    given = read_dump(tmp_path / "dump").tensors
    weights = import_paddle().load(str(checkpoint / "model_state.pdparams"), return_numpy=True)

    def half(*names: str) -> np.ndarray:
        found = [weights[name].astype(np.float16) for name in names]
        return np.concatenate(found, -1)

    for layer in range(2):
        place = f"unimo.encoder.layers.{layer}"
        fused = half(*(f"{place}.self_attn.{one}_proj.weight" for one in "qkv"))
        np.testing.assert_array_equal(given["SelfQueryWeight"][layer], fused)
        np.testing.assert_array_equal(given["FFNOutBias"][layer], half(f"{place}.linear2.bias"))
    words = half("unimo.embeddings.word_embeddings.weight")
    np.testing.assert_array_equal(given["WordEmbedding"][0], words)
    np.testing.assert_array_equal(given["EmbBias"][0], half("lm_head.decoder_bias"))
    dtypes = {name: {str(one.dtype) for one in found} for name, found in given.items()}
    ids = {"InputIds", "MemSeqLen", "TypeIds", "DecTypeIds"}
    assert all(dtypes[name] == {"int32" if name in ids else "float16"} for name in given)
    check_generated(
        Session(tmp_path / "exported", contract, ON_CPU, "cpu").run(
            pad_rows(rows_of(contract), PAD)
        ),
        contract,
        9,
        "cpu",
    )


def test_without_the_correction_paddlenlp_cannot_make_the_model(
    checkpoint: Path, library: Path
) -> None:
    import_paddlenlp()
    with quiet():
        from paddlenlp.ops import FasterUNIMOText
    with pytest.raises(RuntimeError, match="Could not parse args"):
        FasterUNIMOText(load_reference(checkpoint), str(library))


def test_another_paddlenlp_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "paddlenlp-3.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: paddlenlp\nVersion: 3.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        pytest.raises(ExportError, match=r"PaddleNLP 2\.8\.1, but 3\.0 is installed"),
        transferring_plain_tensors(),
    ):
        pass


def test_every_reason_against_a_model_is_given_at_once(
    checkpoint: Path, export: Export, tmp_path: Path
) -> None:
    broken = shutil.copytree(checkpoint, tmp_path / "broken")
    path = broken / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"no_repeat_ngram_size": 2}))
    with pytest.raises(ExportError) as caught:
        export(DecodeSettings(max_dec_len=400), of=broken)
    message = str(caught.value)
    assert "FasterTransformer cannot export this" in message
    assert "no_repeat_ngram_size: 2" in message
    assert "max_dec_len: 400" in message


def test_a_library_that_does_not_go_with_this_paddle_is_named_with_the_reason(
    tmp_path: Path,
) -> None:
    source, library = tmp_path / "library.c", tmp_path / "library.so"
    source.write_text("extern int missing_here(void); int call(void) { return missing_here(); }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    with pytest.raises(ExportError, match=r"undefined symbol: missing_here; .* this Paddle"):
        call_in_child(load_operator, library)


def test_a_model_whose_library_is_gone_is_not_run(export: Export, tmp_path: Path) -> None:
    contract, folder = export(BEAMS), tmp_path / "exported"
    (folder / "libdecoding_op.so").unlink()
    with pytest.raises(ExportError, match=r"libdecoding_op\.so: cannot open shared object file"):
        call_in_child(Session, folder, contract, ON_CPU, "cpu")


def test_a_run_from_checkpoint_to_report(run_demo: RunFlow, library: Path, tmp_path: Path) -> None:
    passages = tmp_path / "passages.jsonl"
    write_passages(passages, rows=20)
    overrides = (
        "export.engine=faster_transformer",
        f"export.decoding_lib={library}",
        f"dataset.predict_file={passages}",
        "shards.rows_per_shard=6",
        "decode.num_beams=4",
    )
    run_demo(tmp_path / "store", *overrides)
    store = Store(tmp_path / "store")
    folder = find_results("latest", store)
    table = pq.read_table(folder / "predictions.parquet")
    assert table.num_rows == 18
    assert table["score"].null_count == 18
    record = json.loads((folder / "run.json").read_text())
    assert record["decided_by"]["export"]["engine"] == "faster_transformer"
    exported = store.export_folder(record["export"])
    contract = read_contract(exported)
    dataset = pq.read_table(sorted(store.dataset_folder(record["dataset"]).glob("part-*.parquet")))
    expected = [
        expected_tokens(ids, contract.decode, contract.special_tokens)
        for ids in dataset["input_ids"].to_pylist()
    ]
    eos = contract.special_tokens.eos
    assert table["output_ids"].to_pylist() == [ids[: ids.index(eos) + 1] for ids in expected]
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in lines] == [None] * 18
    assert all(json.loads(line)["question"] for line in lines)
    report = (folder / "report.html").read_text()
    assert "There are no scores, because the engine does not return any" in report
    assert not re.search(r"score nan|>nan<", report)
    assert (exported / "libdecoding_op.so").read_bytes() == library.read_bytes()
    # A different process, this one, writes the same bytes.
    again = tmp_path / "again"
    again.mkdir()
    operators = Operators(library, is_half=False, device="cpu")
    export_faster_transformer(ROOT / "data/checkpoint", contract.decode, again, operators=operators)
    for path in again.iterdir():
        assert path.read_bytes() == (exported / path.name).read_bytes(), path.name


def test_what_cannot_be_done_is_said_before_anything_is_written(
    run_demo: RunFlow, tmp_path: Path
) -> None:
    with pytest.raises(PreflightError) as caught:
        run_demo(
            tmp_path / "store",
            "export.engine=faster_transformer",
            f"export.decoding_lib={tmp_path / 'nowhere.so'}",
            "decode.repetition_penalty=1.3",
        )
    places = {fault.key for fault in caught.value.faults}
    assert places == {"export.decoding_lib", "decode.repetition_penalty"}
    assert not (tmp_path / "store").exists()
