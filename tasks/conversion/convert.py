"""Writing the questions of a run in a format of other programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tasks.columns.values import as_plain
from tasks.conversion.csv import as_csv
from tasks.conversion.label_studio import as_label_studio
from tasks.conversion.questions import Questions, Tally
from tasks.conversion.squad import as_squad
from tasks.conversion.target import Target
from tasks.doctor.replacing import check_replacing
from tasks.errors import InputError
from tasks.runs.find import read_record, store_of
from tasks.runs.record import RunRecord
from tasks.runs.results import find_predictions
from tasks.store.files import commit_file

OUTPUT = "--output"
encode = json.JSONEncoder(ensure_ascii=False).encode


def as_json_lines(questions: Questions, tally: Tally) -> Iterator[str]:
    """Yield a line of JSON for each question.

    Raises:
        StoreCorruptionError: the questions cannot be read.
    """
    for question in questions:
        tally.add(question)
        yield f"{encode(as_plain(question))}\n"


@dataclass(frozen=True)
class Format:
    """How a format is written.

    Attributes:
        suffix: of the name of a file.
        write: yields the text of the file, and counts what is in it.
        beginning: what each file begins with, and hardly one of another program; a regular
            expression.
        encoding: of the text.
    """

    suffix: str
    write: Callable[[Questions, Tally], Iterator[str]]
    beginning: str
    encoding: str = "utf-8"


FORMATS = {
    Target.SQUAD: Format(".squad.json", as_squad, r'\{"made_by": "wenti", "run_id": "'),
    Target.CSV: Format(".csv", as_csv, "\ufeffrow,id,context,answer,reference,", "utf-8-sig"),
    Target.LABEL_STUDIO: Format(
        ".label-studio.json", as_label_studio, r'\[\n\{"data": \{"row": \d+, "id": "'
    ),
    Target.ONE_PER_QUESTION: Format(".jsonl", as_json_lines, r'\{"row": \d+, "id": "'),
}


@dataclass(frozen=True)
class Converted:
    """A file that was written, and what is in it."""

    path: PurePath
    record: RunRecord
    tally: Tally

    def as_dict(self) -> dict[str, Any]:
        """Return what `wenti export-results --json` prints."""
        return {
            "path": str(self.path),
            "run_id": self.record.run_id,
            **vars(self.tally),
            "rows_missing": self.record.rows_missing,
            "fake": self.record.is_made_up,
        }


def convert_run(folder: PurePath, target: Target, output: PurePath | None = None) -> Converted:
    """Write the questions of a run into a file, completely or not at all.

    Without `output`, which can be an address, the file is in the working folder and has the id of
    the run as its name. A file that this function has written is replaced, and no other.

    Raises:
        PreflightError: the file cannot be written there.
        InputError: there is no question to write.
        StorageError: the disk is full, or permission is denied.
        StoreCorruptionError: the results cannot be read.
    """
    record, form, tally = read_record(folder), FORMATS[target], Tally()
    path = output or Path(f"{record.run_id}{form.suffix}")
    check_replacing(OUTPUT, path, store_of(folder).root, str(target), form.beginning)
    questions = Questions(find_predictions(folder), record.run_id, _name_model(record))

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding=form.encoding, newline="") as file:
            file.writelines(form.write(questions, tally))
        if not tally.questions:
            reason = "no row has its answer in its passage" if tally.left_out else "it has none"
            raise InputError(f"run {record.run_id} has no question for {target}: {reason}")

    commit_file(path, write, setting=OUTPUT)
    return Converted(path, record, tally)


def _name_model(record: RunRecord) -> str:
    """Return the name of a run's model, with what tells it and its options from others."""
    name = str(record.config.get("model", {}).get("model_name_or_path", "model"))
    name = "fake" if record.is_made_up else name
    return f"{PurePath(name).name}-{record.export[:12]}"
