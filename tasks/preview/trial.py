"""A try: the questions for one passage, without a run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.config.settings import DatasetSettings, Settings
from tasks.engine.gpu.driver import device_names
from tasks.engine.gpu.visible_devices import restrict_to_device
from tasks.errors import InputError
from tasks.export.build import find_export, is_optimized, make_export
from tasks.load.encoding import Encoded, QuestionTokenizer
from tasks.passages.fields import BY_NAME
from tasks.passages.records import Passage, Reject, parse_record
from tasks.plan.plan import Plan
from tasks.predict.questions import Question, generate_batch
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.worker_process import load_generator, make_rows
from tasks.processes import call_in_child
from tasks.store.claims import Claims
from tasks.store.tables import DATASET

TOKENIZATION = ("template", "max_seq_len", "max_title_len")
"""The keys of the section `dataset` that decide the tokens of a passage."""


@dataclass(frozen=True)
class Trial:
    """The questions for a passage, best first, and what the model does not see of it."""

    passage: Passage
    encoded: Encoded
    questions: list[Question]

    def as_dict(self) -> dict[str, Any]:
        """Return the content as plain JSON types, with the names of predictions.parquet."""
        best, *others = self.questions
        return {
            "context": self.passage.context,
            "answer": self.passage.answer,
            "question": best.text,
            "score": best.score,
            "is_finished": best.is_finished,
            "token_count": len(best.output_ids),
            "alternatives": [{"question": one.text, "score": one.score} for one in others],
            "cut": self.encoded.cut,
            "tokens": len(self.encoded.input_ids),
            "unknown_tokens": self.encoded.unknown_tokens,
        }


@contextmanager
def settings_for(settings: Settings, passage: Passage) -> Iterator[Settings]:
    """Yield the settings with a file of this passage as their passages, for as long as the block.

    The passages of the config may be missing, and no rule on many rows applies to one.
    """
    with tempfile.TemporaryDirectory(prefix="wenti-try-") as folder:
        file = Path(folder, "passage.jsonl")
        row = {"context": passage.context, "answer": passage.answer}
        file.write_text(json.dumps(row), encoding="utf-8")
        kept = {key: getattr(settings.dataset, key) for key in TOKENIZATION}
        dataset = DatasetSettings().model_copy(update={"predict_file": str(file), **kept})
        yield settings.model_copy(update={"dataset": dataset})


def read_passage(settings: Settings, context: str, answer: str) -> Passage:
    """Return a passage with its answer.

    Raises:
        InputError: it would be rejected, or the template takes more than these two.
    """
    if settings.dataset.template == 4:
        raise InputError("template 4 takes prompts as well; put the row into a file and run that")
    passage = parse_record({"context": context, "answer": answer}, 0, None, BY_NAME)
    if isinstance(passage, Reject):
        raise InputError(f"{passage.reason}: {passage.detail}")
    return passage


def ensure_export(plan: Plan, claims: Claims) -> None:
    """Export the model of a plan unless the store has it.

    Raises:
        InputError: the export is optimized and missing: it is compared with the plain one on the
            passages of the config, which the plan of a trial does not have.
        WentiError: as `tasks.export.build.make_export` raises.
    """
    find = partial(find_export, plan)
    if is_optimized(plan) and find().manifest is None:
        raise InputError(
            "an export in half precision or for TensorRT is compared with the plain one on the"
            " passages of the config, and is not made yet; make it with `wenti export`"
        )
    claims.once(plan.export.fingerprint, find, partial(make_export, plan))


def try_passage(plan: Plan, passage: Passage) -> Trial:
    """Return the questions for a passage; the export of the plan must be in the store.

    Raises:
        InputError: the passage does not have the parts that its template needs.
        WorkerError: the child process that generates them died.
        WentiError: the export cannot be loaded, or the device cannot be used.
    """
    dataset = plan.settings.dataset
    tokenizer = QuestionTokenizer(
        plan.tokenizer_files, dataset.template, dataset.max_seq_len, dataset.max_title_len
    )
    encoded = tokenizer.encode(passage)
    if isinstance(encoded, Reject):
        raise InputError(f"{encoded.reason}: {encoded.detail}")
    device = device_names(plan.settings.predict)[0]
    order = WorkerOrder.from_plan(plan, device)
    return Trial(passage, encoded, call_in_child(_generate, order, encoded))


def _generate(order: WorkerOrder, encoded: Encoded) -> list[Question]:
    """Return the questions of one row, best first; in a process of its own."""
    generator = load_generator(order, restrict_to_device(order.device))
    names = ("input_ids", "token_type_ids")
    row = {name: getattr(encoded, name) for name in names}
    schema = pa.schema([DATASET.field(name) for name in names])
    batch = pa.RecordBatch.from_pylist([row], schema=schema)
    (questions,) = generate_batch(make_rows(batch, generator.is_sampling), generator)
    return questions
