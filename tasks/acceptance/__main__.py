"""`make gpu-acceptance`: the checks that need a GPU.

It runs every engine and precision on the demo and on a random model of base size and compares each
question with the CPU's; it measures the dynamic graph against each engine, and one device against
several. The results are a page and a JSON file. `--device cpu` is a rehearsal without a GPU.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.acceptance.page import render
from tasks.acceptance.run import Order, accept, conclude
from tasks.acceptance.variants import ENGINES, PRECISIONS, Variant
from tasks.bench.machine import describe_machine
from tasks.bench.options import BenchOptions
from tasks.engine.gpu.driver import Gpu, gigabytes, probe_gpus, visible_here
from tasks.engine.gpu.fat_binaries import name_architecture
from tasks.errors import DeviceError
from tasks.escaping import to_json, visible

FAILED = 3
UNUSABLE = 2
BASE = BenchOptions()
PROGRAM = (str(Path(sys.executable).with_name("wenti")),)


def main(
    folder: Annotated[Path, typer.Argument(help="Folder for the page, the JSON and the runs.")],
    device: Annotated[str, typer.Option(help="Device to test.")] = "gpu:0",
    devices: Annotated[
        list[str] | None, typer.Option(help="Devices to compare with one.  [default: all GPUs]")
    ] = None,
    engines: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    precisions: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    look: Annotated[
        bool, typer.Option("--look", help="Only check whether there is a GPU.")
    ] = False,
    decoding_lib: Annotated[
        Path | None,
        typer.Option(help="Library of the FasterTransformer operators.  [default: build it]"),
    ] = None,
    rows: Annotated[int, typer.Option(help="Rows for the model of base size.")] = 128,
    many_rows: Annotated[int, typer.Option(help="Rows for several devices.")] = 1024,
    rounds: Annotated[int, typer.Option(help="Rounds of the speed check.")] = BASE.rounds,
    length: int = BASE.length,
    steps: int = BASE.steps,
    layers: int = BASE.layers,
    hidden: int = BASE.hidden,
    vocab: int = BASE.vocab,
) -> None:
    """Run all checks and write the page; the exit code is 3 if a check failed."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    facts = _describe_here(device)
    if look:
        return
    variants = tuple(
        Variant(engine, precision, (device,), decoding_lib)
        for engine in engines or ENGINES
        for precision in precisions or PRECISIONS
    )
    options = BenchOptions(
        rows=rows, generate_rows=rows, length=length, steps=steps, layers=layers, hidden=hidden,
        vocab=vocab, rounds=rounds, device=device,
    )  # fmt: skip
    many = tuple(devices or [f"gpu:{index}" for index in range(len(facts["gpus"]))])
    order = Order(PROGRAM, folder.absolute(), variants, many, options, many_rows)
    result = {**facts, **conclude(list(accept(order)))}
    _write(folder, result)
    sys.exit(FAILED if result["counts"]["failed"] else 0)


def _describe_here(device: str) -> dict[str, Any]:
    """Return the facts about this machine; exit if `device` is a GPU and there is none."""
    facts: dict[str, Any] = {"device": device, "gpus": [], "driver": None}
    if device.startswith("gpu"):
        try:
            machine = probe_gpus()
        except DeviceError as error:
            print(f"gpu-acceptance needs a GPU: {visible(str(error))}", file=sys.stderr)  # noqa: T201
            sys.exit(UNUSABLE)
        facts["gpus"], facts["driver"] = _describe(visible_here(machine)), machine.driver
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {**facts, "date": date, "machine": describe_machine()}


def _describe(gpus: Sequence[Gpu]) -> list[dict[str, str]]:
    return [
        {
            "name": gpu.name,
            "architecture": name_architecture(gpu.capability),
            "memory": gigabytes(gpu.memory),
        }
        for gpu in gpus
    ]


def _write(folder: Path, result: dict[str, Any]) -> None:
    page, figures = folder / "gpu-acceptance.html", folder / "gpu-acceptance.json"
    figures.write_text(to_json(result) + "\n", encoding="utf-8")
    page.write_text(render(result), encoding="utf-8")
    logging.getLogger("wenti.acceptance").info("send back: %s and %s", page, figures)


if __name__ == "__main__":
    typer.run(main)
