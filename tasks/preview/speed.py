"""How fast rows are generated: in an earlier run of the same export, or else measured now."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tasks.engine.batch import Row, plan_batches
from tasks.engine.gpu.driver import device_names
from tasks.engine.gpu.visible_devices import restrict_to_device
from tasks.errors import StoreCorruptionError, WentiError
from tasks.load.dataset import make_request, read_sample
from tasks.plan.plan import Plan
from tasks.predict.questions import generate_batch
from tasks.predict.workers.base import WorkerOrder
from tasks.predict.workers.worker_process import load_generator
from tasks.processes import call_in_child
from tasks.runs.find import list_runs, read_record
from tasks.runs.metrics import read_metrics

logger = logging.getLogger("wenti.preview")

DECIDE_SPEED = ("device", "devices", "cpu_threads", "batch_size")
"""The keys of the section `predict` that a run of the same speed has in common."""

SAMPLE_BATCHES = 8
SECONDS = 30.0
"""No batch is started later than that after the first one, which warms up and does not count."""


@dataclass(frozen=True)
class Speed:
    """How fast rows are generated with an export on the devices of a config.

    Attributes:
        rows_per_second: rows that were generated, by the seconds that this took.
        run_id: the run in which; None if it was measured now, on the first usable rows.
        rows: how many rows were generated.
    """

    rows_per_second: float
    run_id: str | None
    rows: int


def find_speed(plan: Plan) -> Speed | None:
    """Return the speed of the newest run with the same export and devices that generated rows."""
    wanted = plan.settings.as_dict()["predict"]
    for folder in reversed(list_runs(plan.store)):
        with suppress(StoreCorruptionError):
            record = read_record(folder)
            config = record.config.get("predict", {})
            is_alike = all(config.get(key) == wanted[key] for key in DECIDE_SPEED)
            if record.export != plan.export.fingerprint or not is_alike:
                continue
            metrics = read_metrics(folder)
            if speed := metrics.get("rows_per_second"):
                return Speed(speed, record.run_id, metrics.get("rows_made") or 0)
    return None


def measure_speed(plan: Plan) -> Speed | WentiError:
    """Return the speed on the first usable rows, or what kept them from being generated.

    The export must be in the store. One device generates them; several are as many times as fast.
    """
    devices, predict = device_names(plan.settings.predict), plan.settings.predict
    logger.info("measuring the speed on %s, which takes up to a minute", devices[0])
    try:
        request = make_request(plan)
        rows = call_in_child(read_sample, request, SAMPLE_BATCHES * predict.batch_size)
        order = WorkerOrder.from_plan(plan, devices[0])
        count, seconds = call_in_child(_measure, order, rows)
    except WentiError as error:
        return error
    return Speed(len(devices) * count / seconds, None, count)


def _measure(order: WorkerOrder, rows: Sequence[Row]) -> tuple[int, float]:
    """Return how many rows were generated, and the seconds; in a process of its own."""
    generator = load_generator(order, restrict_to_device(order.device))
    predict, lengths = order.predict, [len(row.input_ids) for row in rows]
    batches = plan_batches(lengths, predict.batch_size, predict.max_tokens_per_batch)
    # They are ordered by length: from the middle, so that few of them have the usual lengths, too.
    middle = len(batches) // 2
    order_of = sorted(range(len(batches)), key=lambda number: abs(number - middle))
    first, *others = (batches[number] for number in order_of)
    count, started = 0, time.monotonic()
    generate_batch([rows[at] for at in first], generator)
    begun = time.monotonic()
    for batch in others:
        if time.monotonic() - started > SECONDS:
            break
        generate_batch([rows[at] for at in batch], generator)
        count += len(batch)
    if not count:  # there is only one batch, or it took too long for another
        return len(first), begun - started
    return count, time.monotonic() - begun
