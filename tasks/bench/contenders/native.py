"""The native engine as a contender: a session like that of a worker of the predict stage."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.bench.contenders.lines import Answer, answer_lines, memory_mb
from tasks.bench.options import BenchOptions
from tasks.bench.workload import native_batches
from tasks.engine.batch import Batch, Row, pad_rows
from tasks.engine.contract import read_contract
from tasks.engine.inference.session import Session
from tasks.engine.paddle.installation import describe_paddle


def _load(order: Mapping[str, Any]) -> tuple[Answer, Any]:
    options, rows = BenchOptions(**order["options"]), order["rows"]
    folder = Path(order["export"])
    contract = read_contract(folder)
    session = Session(folder, contract, options.predict, options.device)
    planned = native_batches([len(row) for row in rows], options)
    made = [Row(row, [0] * (len(row) - 1) + [1], number) for number, row in enumerate(rows)]
    batches = [
        pad_rows([made[place] for place in places], contract.special_tokens.pad)
        for places in planned
    ]
    order_of_rows = np.argsort(np.concatenate(planned))

    def run() -> Answer:
        tokens = np.concatenate([session.run(batch).tokens[:, 0] for batch in batches])
        return {"tokens": tokens[order_of_rows].tolist()}

    facts = {
        "paddle": describe_paddle(),
        "mkl_debug_cpu_type": os.environ.get("MKL_DEBUG_CPU_TYPE"),
        "loaded_rss_mb": memory_mb("VmRSS"),
    }
    _warm_up(session, batches)
    return facts, run


def _warm_up(session: Session, batches: list[Batch]) -> None:
    """Run the largest batch once, so that memory is allocated; it is kept afterwards."""
    session.run(max(batches, key=lambda batch: batch.input_ids.size))


if __name__ == "__main__":
    answer_lines(_load)
