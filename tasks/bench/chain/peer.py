"""datatrove or Ray Data with the rows of a benchmark of the chain, and a step that makes questions.

It runs in another environment, so it imports nothing of Wenti. Each reads JSON lines, makes a
question of each row without a model, and writes files with all rows:

    python peer.py datatrove|ray OUTPUT INPUT
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any


def main() -> None:
    """Run what the arguments name."""
    name, output, source = sys.argv[1:]
    {"datatrove": run_datatrove, "ray": run_ray}[name](source, output)
    if not any(path.is_file() and path.stat().st_size for path in Path(output).rglob("*")):
        raise ValueError(f"{name} wrote nothing")


def make_question(context: str, answer: str) -> str:
    """Return a question like those of the fake engine."""
    return f"{answer}在上下文{context[:3]}"


def run_datatrove(source: str, output: str) -> None:
    """Read, answer and write with a process for each core and a file of the input for each."""
    cores = len(os.sched_getaffinity(0))
    executor = import_module("datatrove.executor").LocalPipelineExecutor
    reader = import_module("datatrove.pipeline.readers").JsonlReader
    writer = import_module("datatrove.pipeline.writers").JsonlWriter
    executor(
        pipeline=[
            reader(source, text_key="context", id_key="id"),
            _add_questions,
            writer(output, compression=None),
        ],
        tasks=cores,
        workers=cores,
        logging_dir=f"{output}.logs",
    ).run()


def _add_questions(documents: Iterable[Any], rank: int = 0, world_size: int = 1) -> Iterator[Any]:
    del rank, world_size
    for document in documents:
        metadata = document.metadata
        metadata["generated"] = make_question(document.text, metadata["answer"])
        yield document


def run_ray(source: str, output: str) -> None:
    """Read, answer and write in blocks, as many at a time as there are cores."""
    ray = import_module("ray")
    cores = len(os.sched_getaffinity(0))
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    data = import_module("ray.data").read_json(source)
    data.map_batches(_add_column, batch_format="pyarrow").write_parquet(output)
    ray.shutdown()


def _add_column(batch: Any) -> Any:  # noqa: ANN401 a table of pyarrow, which Wenti's types are not
    pairs = zip(batch["context"].to_pylist(), batch["answer"].to_pylist(), strict=True)
    questions = [make_question(*pair) for pair in pairs]
    return batch.append_column("generated", [questions])


if __name__ == "__main__":
    main()
