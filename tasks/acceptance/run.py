"""All checks in order: doctor, the demo, a model of base size, speed, several devices."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.acceptance.chain import CONFIG, Chain, Run, check_questions
from tasks.acceptance.checks import Check, carry_out
from tasks.acceptance.speed import measure_speed, write_base_passages
from tasks.acceptance.variants import Variant, reference_variant
from tasks.bench.engine import build
from tasks.bench.options import BenchOptions
from tasks.config.loading import load_settings
from tasks.doctor.diagnosis import diagnose
from tasks.engine.export.optimize import optimize_export
from tasks.processes import call_in_child
from tasks.runs.results import PREDICTIONS_FILE

PUBLISHED = 0.164
"""FasterTransformer's time relative to the dynamic graph's on the page of PaddleNLP's example:
27.74 s of 169.24 s."""

SHARDS_PER_DEVICE = 8


@dataclass(frozen=True)
class Order:
    """What is checked.

    Attributes:
        program: the command `wenti`.
        folder: for the page, the JSON and the runs.
        variants: engines and precisions, all on the same device.
        devices: compared together with the first of them alone.
        options: size of the base model, rows, search, rounds.
        many_rows: number of rows for several devices.
    """

    program: tuple[str, ...]
    folder: Path
    variants: tuple[Variant, ...]
    devices: tuple[str, ...]
    options: BenchOptions
    many_rows: int


def accept(order: Order) -> Iterator[Check]:
    """Yield the outcome of each check, including those that cannot run here.

    Raises:
        WorkerError: the model of base size could not be built.
    """
    for variant in order.variants:
        yield carry_out(f"doctor: {variant.name}", partial(_examine, order, variant))
    yield from _try_variants("demo", Chain(order.program, order.folder / "demo"), order)[0]
    base, model = _prepare_base(order)
    checks, exports = _try_variants("base size", base, order)
    yield from checks
    yield carry_out("speed", partial(_compare_speed, model, exports, base, order))
    yield carry_out("several devices", partial(_compare_devices, base, order))


def _examine(order: Order, variant: Variant) -> Check:
    settings = load_settings(CONFIG, Chain(order.program, order.folder).settings(variant))
    findings = diagnose(settings)
    faults = [f"{f.key}: {f.problem}" for f in findings if f.severity == "fault"]
    name, figures = f"doctor: {variant.name}", {"findings": [f.as_dict() for f in findings]}
    if faults:
        return Check(name, "not run", "; ".join(faults), figures)
    return Check(name, "passed", "can run here", figures)


def _try_variants(what: str, chain: Chain, order: Order) -> tuple[list[Check], dict[str, Path]]:
    """Return the check of each variant, and the export folders of those that ran, by name."""
    runs: list[Run] = []
    name = f"{what}: CPU, for comparison"

    def run_reference() -> Check:
        runs.append(chain.run(reference_variant()))
        return Check(name, "told", f"{runs[0].metrics['predictions']} questions")

    checks = [carry_out(name, run_reference)]
    exports = {}
    for variant in order.variants if runs else ():
        name = f"{what}: {variant.name}"
        check = carry_out(name, partial(check_questions, name, chain, variant, runs[0]))
        checks.append(check)
        if check.figures:
            exports[variant.name] = chain.folder / "exports" / variant.slug
    return checks, exports


def _prepare_base(order: Order) -> tuple[Chain, Path]:
    folder = order.folder / "base"
    folder.mkdir(parents=True, exist_ok=True)
    options = order.options
    model, _export = build(folder, options, options.length)
    write_base_passages(folder / "passages.jsonl", options.rows, options)
    write_base_passages(folder / "many.jsonl", order.many_rows, options)
    overrides = (
        f"model.model_name_or_path={model}",
        f"dataset.predict_file={folder / 'passages.jsonl'}",
        f"decode.num_beams={options.beams}",
        f"decode.max_dec_len={options.steps}",
        f"decode.min_dec_len={options.decode.min_dec_len}",
        f"predict.batch_size={options.batch_size}",
        "shards.reuse_rows=false",  # the passages repeat, and every row is to be timed
    )
    return Chain(order.program, folder, overrides, is_trained=False), model


def _compare_speed(model: Path, exports: dict[str, Path], base: Chain, order: Order) -> Check:
    refused = (v for v in order.variants if v.is_gated and v.name not in exports)
    exports = exports | {variant.name: _export_half_precision(base) for variant in refused}
    figures = measure_speed(model, exports, order.options)
    ratios = [
        f"{name} takes {100 * values['ratio_to_generate']:.1f} %"
        for name, values in figures.items()
        if "ratio_to_generate" in values
    ]
    message = f"{', '.join(ratios)} of the dynamic graph's time" if ratios else "no engine ran"
    published = f"FasterTransformer in PaddleNLP's example: {100 * PUBLISHED:.1f} %"
    return Check("speed", "told", f"{message} ({published})", figures)


def _export_half_precision(base: Chain) -> Path:
    """Export in half precision without comparing questions, which a random model may not pass."""
    plain, folder = (base.folder / "exports" / name for name in (reference_variant().slug, "half"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    call_in_child(optimize_export, plain, folder, True, None)
    return folder


def _compare_devices(base: Chain, order: Order) -> Check:
    """Check that several devices give the same bytes as one, and measure the speed-up."""
    name = "several devices"
    if len(order.devices) < 2:
        return Check(name, "not run", "there is only one device")
    seconds, same = _predict_on_devices(base, order)
    figures = {
        "devices": list(order.devices),
        "seconds": seconds,
        "times_as_fast": round(seconds[0] / max(seconds[1], 0.01), 3),
        "same_bytes": same,
    }
    speed = f"{len(order.devices)} devices are {figures['times_as_fast']} times as fast as one"
    if not same:
        return Check(name, "failed", f"{speed}, but their results differ", figures)
    return Check(name, "passed", f"{speed}, with the same bytes", figures)


def _predict_on_devices(base: Chain, order: Order) -> tuple[list[float], bool]:
    """Return the seconds of predict on one device and on all, and whether the bytes are equal."""
    one = Variant("native", "fp32", order.devices[:1])
    several = Variant("native", "fp32", order.devices)
    shards = SHARDS_PER_DEVICE * len(order.devices)
    rows = (
        f"dataset.predict_file={base.folder / 'many.jsonl'}",
        f"shards.rows_per_shard={max(1, order.many_rows // shards)}",
    )
    with tempfile.TemporaryDirectory(dir=base.folder) as new:  # so that nothing is reused
        runs = [base.elsewhere(f"{new}/{len(v.devices)}", *rows).run(v) for v in (one, several)]
        same = len({(run.folder / PREDICTIONS_FILE).read_bytes() for run in runs}) == 1
    return [run.metrics["stage_seconds"]["predict"] for run in runs], same


def conclude(checks: Sequence[Check]) -> dict[str, Any]:
    """Return the checks and the number of checks per state, as JSON types."""
    states = [check.state for check in checks]
    counts = {state: states.count(state) for state in ("passed", "failed", "told", "not run")}
    return {"counts": counts, "checks": [check.as_dict() for check in checks]}
