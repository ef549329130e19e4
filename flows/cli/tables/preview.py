"""What `wenti run --dry-run` and `wenti try` print."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from flows.cli.console import output
from tasks.escaping import visible
from tasks.load.rules import describe_counts
from tasks.predict.questions import Question
from tasks.preview.dry_run import TO_MAKE, DryRun
from tasks.preview.trial import Trial


def print_dry_run(found: DryRun) -> None:
    """Print what a run would do."""
    _print_lines(_tell(found))


def _tell(found: DryRun) -> Iterator[tuple[str, str]]:
    yield "export", found.export
    yield "load", f"{found.load}: {_tell_rows(found)}"
    yield "predict", _tell_shards(found)
    yield "time", _tell_time(found)
    yield "disk", f"at most {decimal(found.bytes)}"
    yield "", "nothing was made or written"


def _tell_rows(found: DryRun) -> str:
    rows = found.rows
    if rows is None:
        return "the rows are not known before the model and the data set are downloaded"
    reasons = f" ({describe_counts(rows.reject_reasons)})" if rows.rejects else ""
    return f"{rows.rows_in} rows, {rows.rejects} rejected{reasons}"


def _tell_shards(found: DryRun) -> str:
    if found.shards_planned is None or found.rows_to_make is None:
        return f"{found.shards_reused} shards reused; the others are not known yet"
    missing = found.shards_planned - found.shards_reused
    made = f"{missing} to be made, at most {found.rows_to_make} rows" if missing else "0 to be made"
    noun = "shard" if found.shards_planned == 1 else "shards"
    return f"{found.shards_planned} {noun}: {found.shards_reused} reused, {made}"


def _tell_time(found: DryRun) -> str:
    if found.rows_to_make == 0:
        return "nothing to generate"
    if found.speed is None:
        return f"not known: {found.unmeasured or _tell_unmeasured(found)}"
    speed = found.speed
    where = "measured now on" if speed.run_id is None else f"in run {speed.run_id}, which generated"
    measured = f"{speed.rows_per_second:.3g} rows per second, {where} {speed.rows}"
    if found.seconds is None:
        return measured
    return f"about {timedelta(seconds=max(1, round(found.seconds)))} to generate ({measured})"


def _tell_unmeasured(found: DryRun) -> str:
    """Return why no speed was measured."""
    before = "no run has generated rows with this export on these devices"
    if found.export == TO_MAKE:
        return f"{before}; once `wenti export` has made it, --dry-run measures it"
    return before


def print_trial(trial: Trial) -> None:
    """Print the questions for a passage, and what the model does not see of it."""
    _print_lines(_tell_trial(trial))


def _tell_trial(trial: Trial) -> Iterator[tuple[str, str]]:
    best, *others = trial.questions
    yield "question", best.text
    yield "score", _score(best)
    for number, one in enumerate(others):
        yield ("" if number else "others"), f"{_score(one)}  {one.text}"
    encoded = trial.encoded
    cut = "nothing" if encoded.cut is None else encoded.cut
    yield "cut off", f"{cut} ({len(encoded.input_ids)} tokens)"
    if encoded.unknown_tokens:
        yield "unknown", f"{encoded.unknown_tokens} tokens that the vocabulary does not have"


def _score(question: Question) -> str:
    score = "none" if question.score is None else f"{question.score:.4f}"
    return score if question.is_finished else f"{score} (not finished)"


def _print_lines(lines: Iterator[tuple[str, str]]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, text in lines:
        table.add_row(Text(name), Text(visible(text)))
    output().print(table)
