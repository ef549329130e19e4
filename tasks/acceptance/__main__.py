"""`make gpu-acceptance`: try on a GPU what no other machine can show.

Every engine and precision, on the demo and on a random model of base size; every question compared
with the CPU's; the dynamic graph beside each engine; one device beside several. It leaves a page
and a JSON file. With `--device cpu` it rehearses itself.
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
    folder: Annotated[Path, typer.Argument(help="Where the page, the JSON and the runs go.")],
    device: Annotated[str, typer.Option(help="That is tried.")] = "gpu:0",
    devices: Annotated[
        list[str] | None, typer.Option(help="Compared with one.  [default: all GPUs]")
    ] = None,
    engines: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    precisions: Annotated[list[str] | None, typer.Option(help="[default: all]")] = None,
    look: Annotated[bool, typer.Option("--look", help="Only whether there is a GPU.")] = False,
    decoding_lib: Annotated[
        Path | None, typer.Option(help="FasterTransformer's operators; else they are built.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Of the base model.")] = 128,
    many_rows: Annotated[int, typer.Option(help="For several devices.")] = 1024,
    rounds: Annotated[int, typer.Option(help="Of the speed.")] = BASE.rounds,
    length: int = BASE.length,
    steps: int = BASE.steps,
    layers: int = BASE.layers,
    hidden: int = BASE.hidden,
    vocab: int = BASE.vocab,
) -> None:
    """Try everything, write the page, and end with 3 if a check failed."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    found = _look(device)
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
    many = tuple(devices or [f"gpu:{index}" for index in range(len(found["gpus"]))])
    order = Order(PROGRAM, folder.absolute(), variants, many, options, many_rows)
    result = {**found, **conclude(list(accept(order)))}
    _write(folder, result)
    sys.exit(FAILED if result["counts"]["failed"] else 0)


def _look(device: str) -> dict[str, Any]:
    """Give what there is to say of the machine; without a GPU this is the end."""
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
