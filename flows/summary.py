"""The summary of a run, as tables and Markdown for Prefect's UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from tasks.aggregate.gate.check import read_breaches
from tasks.aggregate.metrics import describe_dropped, describe_quality
from tasks.aggregate.partial import REASONS
from tasks.escaping import in_markdown, shorten, visible
from tasks.evaluation.scores import HEADLINE_METRICS, METRIC_NAMES
from tasks.load.rules import describe_counts, describe_lines, describe_share
from tasks.predict.jobs import Prediction, ShardOutcome
from tasks.predict.shards import ShardDetails
from tasks.quality.keep import PREFIX
from tasks.report.facts import count_unusable
from tasks.report.formatting import price
from tasks.report.lineage import list_config
from tasks.report.trend.history import RunFigures, list_groups, name_group
from tasks.runs.journal import ShardHistory
from tasks.runs.record import RunRecord
from tasks.runs.results import REPORT_FILE

LONGEST_TEXT = 200  # characters
LONGEST_ERROR = 80  # characters; the UI's table does not wrap text
MOST_SHARDS = 1000  # rows of a table that a browser shows without delay
STATES = ("reused", "made", "failed", "left out")
UNTRIED = ShardHistory(state="", attempts=0)


def count_shards(metrics: Mapping[str, Any]) -> str:
    """Return how many shards a run reused, made and lacks, and how many rows are missing."""
    text = _count_states({state: metrics[f"shards_{state.replace(' ', '_')}"] for state in STATES})
    return f"{text}; {metrics['rows_missing']} rows are missing" if metrics["partial"] else text


def count_rows(metrics: Mapping[str, Any]) -> str:
    """Return how many rows the input has, and what became of them."""
    others = {"dropped": metrics.get("rows_dropped", 0), "missing": metrics["rows_missing"]}
    text = f"{metrics['rows_in']} in, {metrics['predictions']} questions"
    counts = {"rejected": count_unusable(metrics), **{name: n for name, n in others.items() if n}}
    return ", ".join([text, *(f"{count} {name}" for name, count in counts.items())])


def count_reuse(metrics: Mapping[str, Any]) -> str | None:
    """Return how many rows were generated and where the others come from; None if all were."""
    if not metrics["rows_reused"]:
        return None
    runs = list(metrics["reused_from"])
    origin = f" from {runs[0] if len(runs) == 1 else f'{len(runs)} runs'}" if runs else ""
    return f"{metrics['rows_made']} rows, {metrics['rows_reused']} reused{origin}"


def count_new(metrics: Mapping[str, Any]) -> str | None:
    """Return how many rows are new and since which run; None if the config does not ask."""
    if metrics.get("rows_new") is None:
        return None
    since = metrics["new_since"]
    known = f"since {since}" if since else "there is no earlier result to compare with"
    return f"{metrics['rows_new']} rows, {known}"


def count_outcomes(prediction: Prediction) -> str:
    """Return how many shards were reused, made and failed; needs no metrics."""
    return _count_states(Counter(outcome.state for outcome in prediction.outcomes))


def _count_states(counts: Mapping[str, int]) -> str:
    told = [state for state in STATES if state != "left out" or counts[state]]
    return ", ".join(f"{state} {counts[state]}" for state in told)


def tell_rejects(metrics: Mapping[str, Any]) -> str:
    """Return how many rows load and predict rejected and why; empty if none was."""
    rejected = count_unusable(metrics)
    if not rejected:
        return ""
    missing = REASONS.values()
    reasons = {
        name: rows
        for name, rows in metrics["reject_reasons"].items()
        if name not in missing and not name.startswith(PREFIX)
    }
    share = describe_share(rejected, metrics["rows_in"])
    return f"{share} rejected: {describe_counts(reasons)}"


def tell_losses(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what the model does not see of the passages, or perhaps sees as one row of several.

    Nothing if it sees every row as it is.
    """
    if metrics["cut"] is None:
        return {"cut": "unknown: an older version of Wenti loaded the passages"}
    rows = metrics["rows_in"]
    told = {
        "cut": f"{describe_share(metrics['cut_rows'], rows)}: {describe_counts(metrics['cut'])}",
        "unknown": f"{metrics['unknown_tokens']} characters or words ([UNK]) in "
        f"{describe_share(metrics['unknown_rows'], rows)}",
    }
    counts = {"cut": metrics["cut_rows"], "unknown": metrics["unknown_rows"]}
    if metrics["multiline_rows"]:
        counts["several lines"] = metrics["multiline_rows"]
        told["several lines"] = describe_lines(metrics["multiline_rows"], metrics["multiline_at"])
    return {name: text for name, text in told.items() if counts[name]}


def tell_quality(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return how many questions are flagged and dropped, and why; nothing if none is."""
    quality, reasons = metrics["quality"], metrics["reject_reasons"]
    dropped = {name: rows for name, rows in reasons.items() if name.startswith(PREFIX)}
    told = {
        "quality": describe_quality(quality),
        "dropped": describe_dropped(dropped, quality["rows"]) if dropped else "",
    }
    return {name: text for name, text in told.items() if text}


def tell_suspicion(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what is beyond the limits of `quality`; nothing if nothing is, or there are none."""
    breaches = read_breaches(metrics)
    since = metrics["gate"]["since"] if breaches else None
    compared = f" (compared with run {since})" if since else ""
    told = "; ".join(map(str, breaches))
    return {"suspect": f"{told}{compared}"} if breaches else {}


def tabulate_trend(history: Sequence[RunFigures]) -> list[dict[str, str]]:
    """Return one table row per run, in their order; columns in which no run has a value are out."""
    rows = [_trend_row(run) for run in history]
    used = [name for name in (rows[0] if rows else ()) if any(row[name] for row in rows)]
    return [{name: row[name] for name in used} for row in rows]


def _trend_row(run: RunFigures) -> dict[str, str]:
    flags = {flag: run.flag_share(flag) for flag in ("unfinished", "duplicate")}
    shares = {"rejects": run.reject_share, "flagged": run.flagged_share, **flags}
    return {
        "run": run.state.run_id,
        "state": run.state.state,
        "kind": run.kind,
        "rows": _show(run.rows_in, "{}"),
        **{name: _show(share, "{:.1%}") for name, share in shares.items()},
        "dropped": _show(run.rows_dropped or None, "{}"),
        "score/token": _show(run.score_per_token, "{:.4f}"),
        "BLEU-4": _show(run.bleu_4, "{:.2f}"),
        "exact": _show(run.exact_match, "{:.2f}"),
        "generated": _show(run.rows_made, "{}"),
        "seconds": _show(run.state.seconds, "{:.0f}"),
        "cost": "" if run.cost is None else price(run.cost),
        "changed": visible("; ".join(run.changes)),
    }


def tabulate_group_trend(
    history: Sequence[RunFigures], most_groups: int, most_runs: int
) -> list[dict[str, str]]:
    """Return the share of flagged questions of the largest groups in the newest runs with groups.

    One table row per group; the runs are columns, oldest first. Empty without groups.
    """
    runs = [run for run in history if run.groups][-most_runs:]
    return [
        {
            "group": visible(group),
            **{run.state.run_id: _show(run.group_share(group), "{:.1%}") for run in runs},
        }
        for group in list_groups(history, most_groups)
    ]


def _show(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def tabulate_shards(
    outcomes: Iterable[ShardOutcome], histories: Mapping[int, ShardHistory]
) -> list[dict[str, Any]]:
    """Return one table row per shard, failed shards first, at most `MOST_SHARDS`."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.manifest is not None)
    return [
        _shard_row(one, histories.get(one.job.shard.index, UNTRIED))
        for one in ordered[:MOST_SHARDS]
    ]


def _shard_row(outcome: ShardOutcome, history: ShardHistory) -> dict[str, Any]:
    manifest = outcome.manifest
    error = outcome.error or history.last_error or ""
    recovered = "recovered: " if manifest and error else ""
    return {
        "shard": outcome.job.shard.index,
        "state": outcome.state,
        "last error": recovered + visible(shorten(error, LONGEST_ERROR)),
        "rows": outcome.job.shard.rows,
        "rejects": len(ShardDetails.of(manifest).rejects) if manifest else None,
        "attempts": history.attempts,
        "seconds": history.seconds,
        "device": history.device,
    }


def tabulate_groups(groups: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table row for each group of the metrics, and one for all smaller ones."""
    names = groups["columns"]
    rows = [_group_row(name_group(names, one["values"]), one) for one in groups["shown"]]
    others = groups["others"]
    return [*rows, *([_group_row(f"{others['groups']} more", others)] if others else [])]


def _group_row(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {METRIC_NAMES[key]: group[key] for key in ("bleu_4", "rouge_l", "exact_match")}
    return {
        "group": visible(name),
        "rows": group["rows"],
        "rejects": group["rejects"],
        "dropped": group["rows_dropped"],
        "flags": describe_counts({flag: rows for flag, rows in group["flags"].items() if rows}),
        "score per token": group["score_per_token"],
        **{metric: _with_interval(found) for metric, found in metrics.items() if found},
    }


def _with_interval(metric: Mapping[str, float | None]) -> str:
    if metric["low"] is None:
        return f"{metric['value']:.1f}"
    return f"{metric['value']:.1f} [{metric['low']:.1f}, {metric['high']:.1f}]"


def as_markdown(
    metrics: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    record: RunRecord,
    folder: PurePath,
) -> str:
    """Return a page about a run: figures, samples, settings that are not the default, its files.

    Args:
        metrics: the content of metrics.json.
        samples: rows of predictions.parquet.
        record: the content of run.json.
        folder: the run's folder.
    """
    columns = ("context", "answer", "question", "reference")
    tables = {
        "Figures": _table(("", ""), _figures(metrics).items()),
        "Samples": _table(
            ("passage", *columns[1:]), ([row[name] for name in columns] for row in samples)
        ),
        "Settings that differ from the default": _table(
            ("key", "value", "default"),
            (
                (f"{section}.{key.name}", key.value, key.default)
                for section, keys in list_config(record).items()
                for key in keys
                if key.is_changed
            ),
        ),
        "Results": _table(("", ""), (("folder", folder), ("report", folder / REPORT_FILE))),
    }
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in tables.items())


def _figures(metrics: Mapping[str, Any]) -> dict[str, object]:
    is_partial = "partial: " if metrics["partial"] else ""
    scores = {METRIC_NAMES[key]: metrics[key] for key in HEADLINE_METRICS}
    return {
        "rows": count_rows(metrics),
        "generated": count_reuse(metrics) or "all",
        **({"new": count_new(metrics)} if count_new(metrics) else {}),
        **({"rejects": tell_rejects(metrics)} if tell_rejects(metrics) else {}),
        **tell_losses(metrics),
        **tell_quality(metrics),
        **tell_suspicion(metrics),
        "shards": f"{is_partial}{count_shards(metrics)}",
        **{name: score for name, score in scores.items() if score is not None},
        "rows per second": metrics["rows_per_second"],
        "share of padding": metrics["padding_share"],
        **({} if metrics.get("cost") is None else {"cost": price(metrics["cost"])}),
        "seconds": ", ".join(f"{name} {took}" for name, took in metrics["stage_seconds"].items()),
    }


def _table(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    return "–" if value is None else in_markdown(shorten(str(value), LONGEST_TEXT))
