"""The timeline of a run: a lane for each stage, and lanes for the shards of each device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.report.charts import Tick, time_ticks
from tasks.report.formatting import duration, time_unit
from tasks.report.languages.texts import ENGLISH, Texts
from tasks.runs.journal import ShardHistory
from tasks.runs.record import StageStart
from tasks.store.tables import spaced

NARROWEST = 0.4  # percent, so that very short spans are visible
MOST_BLOCKS = 500  # of a lane: far more than fit beside each other


@dataclass(frozen=True)
class Span:
    """An interval in seconds from the run's start; `kind` is its CSS class."""

    start: float
    end: float
    title: str
    kind: str


@dataclass(frozen=True)
class Block:
    """A span in percent of the total time."""

    x: float
    width: float
    title: str
    kind: str


@dataclass(frozen=True)
class Lane:
    """A row of the timeline."""

    name: str
    blocks: list[Block]
    note: str
    is_device: bool = False


@dataclass(frozen=True)
class Timeline:
    """The lanes of a run, the ticks of the time axis, and the seconds it covers.

    Without `has_starts`, the run did not record when stages started, and all start at the left.
    """

    lanes: list[Lane]
    ticks: list[Tick]
    seconds: float
    has_starts: bool

    @property
    def has_failures(self) -> bool:
        """Whether any failed attempt is marked."""
        return any(block.kind == "failure" for lane in self.lanes for block in lane.blocks)


def draw_timeline(
    seconds: Mapping[str, float],
    stages: Mapping[str, StageStart],
    shards: Mapping[int, ShardHistory],
    texts: Texts = ENGLISH,
) -> Timeline:
    """Return the timeline of a run.

    Args:
        seconds: the duration of each stage.
        stages: when each stage started; empty if the run did not record it.
        shards: the history of each shard, by number.
        texts: those of the notes and tooltips.
    """
    spans = {name: _stage(name, took, stages.get(name)) for name, took in seconds.items()}
    total = max((span.end for span in spans.values()), default=0.0)
    lanes: list[Lane] = []
    for name, span in spans.items():
        failures = list(_failures(shards, texts)) if name == "predict" and stages else []
        is_reused = name in stages and stages[name].reused
        note = texts("reused") if is_reused else duration(seconds[name])
        lanes.append(Lane(name, _blocks([span, *failures], total), note))
        if name == "predict" and stages:
            lanes += _device_lanes(shards, total, texts)
    divisor, unit = time_unit(total)
    return Timeline(lanes, time_ticks(total / divisor, unit), total, bool(stages))


def stack(spans: Iterable[Span]) -> list[list[Span]]:
    """Distribute spans over as few rows as possible without overlaps, in order of their start."""
    rows: list[list[Span]] = []
    for span in sorted(spans, key=lambda one: (one.start, one.end)):
        free = next((row for row in rows if row[-1].end <= span.start), None)
        if free is None:
            rows.append([span])
        else:
            free.append(span)
    return rows


def _stage(name: str, took: float, noted: StageStart | None) -> Span:
    started = noted.started if noted else 0.0
    return Span(started, started + took, f"{name}: {duration(took)}", "stage")


def _failures(shards: Mapping[int, ShardHistory], texts: Texts) -> Iterator[Span]:
    for index, shard in shards.items():
        for at in shard.failed_at:
            values = {"number": index, "time": duration(at)}
            title = texts("shard %(number)s: failed after %(time)s", **values)
            yield Span(at, at, title, "failure")


def _device_lanes(shards: Mapping[int, ShardHistory], total: float, texts: Texts) -> Iterator[Lane]:
    """Yield the lanes of the workers; several workers on one device have one lane each."""
    made: dict[str, list[Span]] = {}
    for index, shard in shards.items():
        if shard.state == "made" and shard.at is not None and shard.seconds is not None:
            values = {"number": index, "device": shard.device, "time": duration(shard.seconds)}
            title = texts("shard %(number)s on %(device)s: %(time)s", **values)
            span = Span(shard.at - shard.seconds, shard.at, title, "shard")
            made.setdefault(shard.device or "", []).append(span)
    for device, spans in sorted(made.items()):
        for row in stack(spans):
            yield Lane(device, _blocks(row, total), texts.plural(len(row), "shard"), is_device=True)


def _blocks(spans: Sequence[Span], total: float) -> list[Block]:
    """Return the spans as blocks; evenly spaced ones if there are more than a page can show."""
    shown = (spans[place] for place in spaced(len(spans), MOST_BLOCKS))
    return [_block(span, 100 / total if total > 0 else 0.0) for span in shown]


def _block(span: Span, scale: float) -> Block:
    width = max(NARROWEST, (span.end - span.start) * scale)
    x = min(max(0.0, span.start * scale), 100 - width)
    return Block(round(x, 2), round(width, 2), span.title, span.kind)
