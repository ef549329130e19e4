from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.errors import StoreCorruptionError
from tasks.evaluation.evaluate import EvaluationDetails
from tasks.export.build import ExportDetails
from tasks.load.parts import DatasetDetails
from tasks.predict.shards import ShardDetails
from tasks.store.manifest import Details, Manifest

DATASET = {
    "rows_in": 15,
    "rows": 12,
    "rejects": 3,
    "tokens": 90,
    "longest": 20,
    "part_rows": [8, 4],
    "reject_reasons": {"empty_field": 1, "not_json": 2},
}
SHARD = {
    "rows": 7,
    "batches": 2,
    "input_tokens": 30,
    "padded_tokens": 40,
    "output_tokens": 12,
    "rejects": [{"row": 3, "line": None, "id": "第3", "reason": "timeout", "detail": "hung"}],
}
REPRODUCTION = {"rows": 256, "identical": 256, "difference": 0.0, "sample": {"split": "dev"}}
SCORES = {
    "references": 30,
    **dict.fromkeys(
        ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "sacrebleu_zh", "exact_match"), 50.0
    ),
    "sacrebleu_signature": "nrefs:1",
}


def manifest(details: dict[str, Any]) -> Manifest:
    return Manifest(kind="shard", fingerprint="f" * 64, decided_by={}, files=(), details=details)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        (DatasetDetails, DATASET),
        (ShardDetails, SHARD),
        (ExportDetails, {}),
        (ExportDetails, {"reproduction": REPRODUCTION}),
        (EvaluationDetails, SCORES),
    ],
)
def test_details_change_no_byte_of_a_manifest(kind: type[Details], written: dict[str, Any]) -> None:
    sealed = manifest(written).to_bytes()
    details = kind.of(Manifest.from_bytes(sealed))
    assert manifest(details.as_dict()).to_bytes() == sealed


def test_details_of_another_version_may_say_more() -> None:
    assert DatasetDetails.of(manifest({**DATASET, "characters": 400})).rows == 12


def test_details_of_another_kind_are_an_error_that_names_the_manifest_and_the_keys() -> None:
    with pytest.raises(StoreCorruptionError) as caught:
        DatasetDetails.of(manifest(SHARD))
    message = str(caught.value)
    assert message.startswith(f"the manifest of shard {'f' * 64} has other details")
    assert "rows_in: Field required; rejects: Input should be a valid integer" in message
    assert message.endswith("delete its folder from the store and run again")


def test_details_do_not_change() -> None:
    details = DatasetDetails.model_validate(DATASET)
    with pytest.raises(ValidationError, match="frozen"):
        details.rows = 13  # type: ignore[misc]
