from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.config.settings import DecodeSettings
from tasks.engine.batch import Row, pad_rows
from tasks.engine.contract import Contract, read_contract
from tasks.engine.fake import FAULTS_VARIABLE, export_fake, load_fake, row_digest
from tasks.errors import BadOutputError, OutOfMemoryError, WorkerError
from tasks.processes import call_in_child
from tests.support.rehearsal import ROOT

ROWS = [Row(list(range(5, 5 + length)), [0] * length) for length in (9, 2, 30, 14)]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    folder = tmp_path_factory.mktemp("fake")
    export_fake(ROOT / "data/checkpoint", DecodeSettings(num_return_sequences=2), folder)
    return read_contract(folder)


def generate(contract: Contract, rows: Sequence[Row]) -> list[tuple[object, object]]:
    generated = load_fake(contract).run(pad_rows(rows, contract.special_tokens.pad))
    return list(zip(generated.tokens.tolist(), generated.scores.tolist(), strict=True))


def arm(monkeypatch: pytest.MonkeyPatch, folder: Path, **faults: object) -> None:
    path = folder / "faults.json"
    path.write_text(json.dumps(faults))
    monkeypatch.setenv(FAULTS_VARIABLE, str(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(ROWS), size=st.integers(1, 4))
def test_an_answer_depends_on_the_row_and_nothing_else(
    contract: Contract, order: list[Row], size: int
) -> None:
    alone = {row_digest(row.input_ids): generate(contract, [row])[0] for row in ROWS}
    answers = generate(contract, order[:size])
    assert answers == [alone[row_digest(row.input_ids)] for row in order[:size]]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("crash", WorkerError),
        ("out_of_memory", OutOfMemoryError),
        ("wrong_shape", BadOutputError),
        ("not_a_number", BadOutputError),
    ],
)
def test_a_faulty_row_disturbs_its_batch_and_no_other(
    contract: Contract,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    error: type[Exception],
) -> None:
    arm(monkeypatch, tmp_path, rows=[{"row": row_digest(ROWS[2].input_ids), "kind": kind}])
    with pytest.raises(error):
        call_in_child(generate, contract, ROWS)
    assert len(call_in_child(generate, contract, ROWS[:2])) == 2


def test_a_fault_that_happens_once_does_so_in_one_of_all_processes(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"row": row_digest(ROWS[0].input_ids), "kind": "crash", "once": True}
    arm(monkeypatch, tmp_path, rows=[fault])
    with pytest.raises(WorkerError, match="SIGSEGV"):
        call_in_child(generate, contract, ROWS)
    assert len(call_in_child(generate, contract, ROWS)) == len(ROWS)


def test_a_batch_above_the_limit_does_not_fit(
    contract: Contract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm(monkeypatch, tmp_path, padded_tokens_that_fit=30)
    with pytest.raises(OutOfMemoryError):
        generate(contract, ROWS[1:])
    assert len(generate(contract, [ROWS[2]])) == 1
