"""All of it, in order: doctor, the demo, a model of base size, several devices."""

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
"""FasterTransformer's share of the dynamic graph's time, 27.74 s of 169.24 s."""


SHARDS_PER_DEVICE = 8


@dataclass(frozen=True)
class Order:
    """What is tried.

    Attributes:
        program: `wenti`, as a command.
        folder: where everything goes.
        variants: engines and precisions, all on the same device.
        devices: several, to be compared with one.
        options: size of the base model, rows, search, rounds.
        many_rows: for several devices.
    """

    program: tuple[str, ...]
    folder: Path
    variants: tuple[Variant, ...]
    devices: tuple[str, ...]
    options: BenchOptions
    many_rows: int


def accept(order: Order) -> Iterator[Check]:
    """Do every check; what cannot be done is one, too."""
    for variant in order.variants:
        yield carry_out(f"doctor: {variant.name}", partial(_examine, order, variant))
    yield from _try_variants("demo", Chain(order.program, order.folder / "demo"), order)[0]
    base, checkpoint = _prepare_base(order)
    checks, exports = _try_variants("base size", base, order)
    yield from checks
    yield carry_out("speed", partial(_compare_speed, checkpoint, exports, base, order))
    yield carry_out("several devices", partial(_compare_devices, base, order))


def _examine(order: Order, variant: Variant) -> Check:
    settings = load_settings(CONFIG, Chain(order.program, order.folder).settings(variant))
    findings = diagnose(settings)
    faults = [f"{one.key}: {one.problem}" for one in findings if one.severity == "fault"]
    name, figures = f"doctor: {variant.name}", {"findings": [one.as_dict() for one in findings]}
    if faults:
        return Check(name, "not run", "; ".join(faults), figures)
    return Check(name, "passed", "it can run here", figures)


def _try_variants(what: str, chain: Chain, order: Order) -> tuple[list[Check], dict[str, Path]]:
    """Give what became of each variant, and the exports of those that ran."""
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
    checkpoint, _export = build(folder, options, options.length)
    write_base_passages(folder / "passages.jsonl", options.rows, options)
    write_base_passages(folder / "many.jsonl", order.many_rows, options)
    overrides = (
        f"model.model_name_or_path={checkpoint}",
        f"dataset.predict_file={folder / 'passages.jsonl'}",
        f"decode.num_beams={options.beams}",
        f"decode.max_dec_len={options.steps}",
        f"decode.min_dec_len={options.decode.min_dec_len}",
        f"predict.batch_size={options.batch_size}",
    )
    return Chain(order.program, folder, overrides, is_trained=False), checkpoint


def _compare_speed(checkpoint: Path, exports: dict[str, Path], base: Chain, order: Order) -> Check:
    refused = (one for one in order.variants if one.is_gated and one.name not in exports)
    exports = exports | {one.name: _halve(base) for one in refused}
    figures = measure_speed(checkpoint, exports, order.options)
    ratios = [
        f"{name} takes {100 * one['ratio_to_generate']:.1f} %"
        for name, one in figures.items()
        if "ratio_to_generate" in one
    ]
    told = f"{', '.join(ratios) or 'no engine was measured'} of the dynamic graph's time"
    published = f"FasterTransformer in PaddleNLP's example: {100 * PUBLISHED:.1f} %"
    return Check("speed", "told", f"{told} ({published})", figures)


def _halve(base: Chain) -> Path:
    """Export in half precision past the gate, which a random model need not pass to be timed."""
    plain, folder = (base.folder / "exports" / name for name in (reference_variant().slug, "half"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    call_in_child(optimize_export, plain, folder, True, None)
    return folder


def _compare_devices(base: Chain, order: Order) -> Check:
    """Predict the same rows on one device and on several: the same bytes, in less time."""
    name = "several devices"
    if len(order.devices) < 2:
        return Check(name, "not run", "there is only one device")
    one = Variant("native", "fp32", order.devices[:1])
    several = Variant("native", "fp32", order.devices)
    shards = SHARDS_PER_DEVICE * len(order.devices)
    rows = (
        f"dataset.predict_file={base.folder / 'many.jsonl'}",
        f"shards.rows_per_shard={max(1, order.many_rows // shards)}",
    )
    with tempfile.TemporaryDirectory(dir=base.folder) as new:  # nothing there to be reused
        runs = [base.elsewhere(f"{new}/{len(v.devices)}", *rows).run(v) for v in (one, several)]
        same = len({(run.folder / PREDICTIONS_FILE).read_bytes() for run in runs}) == 1
    seconds = [run.metrics["stage_seconds"]["predict"] for run in runs]
    figures = {
        "devices": list(order.devices),
        "seconds": seconds,
        "times_as_fast": round(seconds[0] / max(seconds[1], 0.01), 3),
        "same_bytes": same,
    }
    told = f"{len(order.devices)} devices are {figures['times_as_fast']} times as fast as one"
    if not same:
        return Check(name, "failed", f"{told}, but their results differ from one's", figures)
    return Check(name, "passed", f"{told}, and give the same bytes", figures)


def conclude(checks: Sequence[Check]) -> dict[str, Any]:
    """Give all checks and how many ended how, for JSON."""
    states = [check.state for check in checks]
    counts = {state: states.count(state) for state in ("passed", "failed", "told", "not run")}
    return {"counts": counts, "checks": [check.as_dict() for check in checks]}
