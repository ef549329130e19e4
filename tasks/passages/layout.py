"""Formats of passage files, how they are opened, and what identifies their rows."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader, BytesIO
from pathlib import Path, PurePath
from typing import NamedTuple

import pyarrow as pa

from tasks.config.settings import UTF_8
from tasks.findings import Finding
from tasks.passages.encodings import as_utf_8
from tasks.passages.fields import BY_NAME, PAIRS, Fields
from tasks.passages.records import excerpt
from tasks.store.tables import open_for_arrow

KEY = "dataset.predict_file"
DELIMITER = "dataset.delimiter"
AT_LEAST_ONE = "name a file with at least one passage"
TEXTS = (".jsonl", ".json", ".csv")
PACKED = (".gz", ".zst")
TABLES = (".parquet", ".arrow", ".xlsx")
KINDS = (*TEXTS, *TABLES, *(f"{text}{packed}" for packed in PACKED for text in TEXTS))
OTHER_SUFFIXES = {".ndjson": ".jsonl", ".tsv": ".csv", ".feather": ".arrow", ".xlsm": ".xlsx"}
SUFFIXES = (*TEXTS, *TABLES, *OTHER_SUFFIXES)

PassageFile = BufferedReader | gzip.GzipFile | BytesIO


class RawRow(NamedTuple):
    """A row of a file.

    Attributes:
        line: line on which it starts, from 1; None for Parquet and Arrow.
        record: what the row holds; its `RowError` if it cannot be parsed.
        last_line: line on which a row of CSV ends, if it has several.
        position: number of the row in Parquet and Arrow, from 0; None for others.
    """

    line: int | None
    record: object
    last_line: int | None = None
    position: int | None = None


RawRows = Iterator[RawRow]


@dataclass(frozen=True)
class Layout:
    """How a file of passages is read: what its name, its beginning and the config say.

    Attributes:
        kind: one of `KINDS`.
        fields: the fields to read, under the names that they have in the file.
        names: the columns of the table, or the fields of the first rows of JSON.
        encoding: the codec of its text.
        is_encoding_given: whether that is the config's, not shown by the file itself.
        mark: size in bytes of the byte order mark.
        delimiter: of the cells of CSV.
        asked_delimiter: the config's, if it names one.
        is_delimiter_given: whether that is used, and another one would be found.
        sheets: names of the sheets of a workbook that are not hidden; the first one is read.
        is_array: whether it is one JSON array.
        is_in_data: whether that is the value of `data` in an object, as in SQuAD.
        has_bare_returns: whether its lines end with a carriage return only.
        extra: columns of its folders that rows can be read from, unless the file has them.
        folders: all columns of its folders.
        is_format_given: whether the kind is the config's, which the content does not overrule.
        has_several: whether the first rows of JSON are nested, or have several answers.
    """

    kind: str
    fields: Fields = BY_NAME
    names: tuple[str, ...] = ()
    encoding: str = UTF_8
    is_encoding_given: bool = False
    mark: int = 0
    delimiter: str = ","
    asked_delimiter: str | None = None
    is_delimiter_given: bool = False
    sheets: tuple[str, ...] = ()
    is_array: bool = False
    is_in_data: bool = False
    has_bare_returns: bool = False
    extra: Mapping[str, str | None] = field(default_factory=dict)
    folders: Mapping[str, str | None] = field(default_factory=dict)
    is_format_given: bool = False
    has_several: bool = False

    @property
    def format(self) -> str:
        """`kind` without compression."""
        return self.kind.removesuffix(self.packed)

    @property
    def packed(self) -> str:
        """How the file is compressed: one of `PACKED`, or ""."""
        return packed_suffix(self.kind)

    def describe(self) -> str:
        """Return which fields are read, such as "context from `context`, answer from `answer`"."""
        chosen = self.fields.chosen_in(self.names) or self.fields.chosen_in(PAIRS[0])
        return ", ".join(f"{role} from `{name}`" for role, name in chosen.items())

    def describe_text(self) -> str:
        """Return what a user may not expect of the file: sheet, delimiter and encoding; or ""."""
        if self.sheets:
            several = f" (the first of {len(self.sheets)})" if len(self.sheets) > 1 else ""
            return f", from the sheet {self.sheets[0]!r}{several}"
        is_usual = self.format != ".csv" or self.delimiter == ","
        delimiter = "" if is_usual else f", separated by {name_delimiter(self.delimiter)}"
        return f"{delimiter}{'' if self.encoding == UTF_8 else f', in {self.encoding}'}"

    def has_other_pair(self, other: Layout) -> bool:
        """Return whether context and answer have other names, as far as rows have been seen."""
        pairs = [one.fields.number_of_pair_in(one.names) for one in (self, other)]
        return bool(self.names and other.names) and pairs[0] != pairs[1]

    def find_choice(self, place: str) -> Finding | None:
        """Return a warning if other fields could be read as well, and the config names none."""
        others = ", ".join(f"`{name}`" for name in self.fields.passed_over_in(self.names))
        problem = f"{place}: {self.describe()}, although it has {others}"
        remedy = "if these are meant, name them in dataset.fields"
        return Finding(KEY, problem, remedy, "warning") if others else None

    def find_deviations(self) -> dict[str, object]:
        """Return what decides the rows besides the kind and the bytes.

        That is what the config decides, `encoding`, `delimiter` and `fields`; and `several`,
        because stores hold datasets in which rows of JSON with several answers are rejects.
        """
        fields = self.fields.deviations(self.names, self.is_table)
        return {
            **({"encoding": self.encoding} if self.is_encoding_given else {}),
            **({"delimiter": self.delimiter} if self.is_delimiter_given else {}),
            **({"fields": fields} if fields else {}),
            **({"several": True} if self.has_several else {}),
        }

    @property
    def is_table(self) -> bool:
        """Whether the file has columns, which all rows share."""
        return self.format in {".csv", *TABLES}


class NoRows(Finding):
    """A file has no rows, which is a fault unless there are other files."""


@dataclass(frozen=True)
class Start:
    """The beginning of a file of passages.

    Attributes:
        place: the path of the file, to be shown.
        text: its first characters, without byte order mark.
        is_whole: whether that is all.
    """

    place: str
    text: str
    is_whole: bool

    def fault(self, problem: str, remedy: str) -> Finding:
        """Return a fault of the file."""
        return Finding(KEY, f"{self.place} {problem}", remedy)

    def no_rows(self) -> NoRows:
        """Return the fault of a file without rows."""
        return NoRows(KEY, f"{self.place} has no rows", AT_LEAST_ONE)


@dataclass(frozen=True)
class NamesFault(Finding):
    """A fault of the names of a file's columns or fields, which are `names`."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodingFault(Finding):
    """A fault of the encoding of a file, which looks like `guess`; None if it is not known."""

    guess: str | None = None


def find_names_fault(
    place: str, what: str, names: Sequence[str], fields: Fields
) -> NamesFault | None:
    """Return what is wrong with the names of a file's columns or fields (`what` they are)."""
    fault = _explain_names(place, what, names, fields)
    if fault is None:
        return None
    return NamesFault(fault.key, fault.problem, fault.remedy, names=tuple(names))


def _explain_names(place: str, what: str, names: Sequence[str], fields: Fields) -> Finding | None:
    missing, found = fields.missing_in(names), f"{place} has the {what} {excerpt(list(names))}"
    if not missing:
        return None
    if fields.named:
        problem = f"{found}, but no `{missing[0]}`"
        return Finding("dataset.fields", problem, f"name {what} that it has")
    if fields.prompts and missing[0] in fields.prompts:
        problem = f"{found}, but no `{missing[0]}`, which template 4 needs"
        return Finding(KEY, problem, "add it, or choose another dataset.template")
    if missing == ["answer"] and "context" in names and "title" not in names:
        problem = f"{found}: passages without answers, and a question asks for an answer"
        return Finding(KEY, problem, "add `answer` (or `answers`), or name it in dataset.fields")
    problem = f"{found}; it needs `context` and `answer`, or `source` and `title`"
    return Finding(KEY, problem, "name yours: dataset.fields={context: passage, answer: ans}")


def name_delimiter(delimiter: str) -> str:
    """Return a delimiter in words, such as `tabs` or `'^'`."""
    names = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
    return names.get(delimiter, repr(delimiter))


def kind_of(path: PurePath) -> str:
    """Return the kind of `KINDS` that the name of a file has, such as `.jsonl.gz`, or ""."""
    name = path.name.lower()
    packed = packed_suffix(name)
    suffix = Path(name.removesuffix(packed)).suffix
    kind = f"{OTHER_SUFFIXES.get(suffix, suffix)}{packed}"
    return kind if kind in KINDS else ""


def packed_suffix(name: str) -> str:
    """Return the suffix of `PACKED` that a name has, or ""."""
    return next((one for one in PACKED if name.endswith(one)), "")


@contextmanager
def open_passages(path: Path, layout: Layout) -> Iterator[PassageFile]:
    """Open a file for reading its text as bytes of UTF-8, decompressed, without byte order mark.

    Bytes that are no text become bytes that are not UTF-8.

    Raises:
        OSError: the file cannot be opened.
    """
    with open_packed(path, layout.packed) as file:
        file.read(layout.mark)
        if layout.encoding == UTF_8 and not layout.has_bare_returns:
            yield file
        else:
            yield as_utf_8(file, layout.encoding, layout.has_bare_returns)


def open_packed(path: Path, packed: str) -> BufferedReader | gzip.GzipFile:
    """Open a file to read its bytes, decompressed; `packed` is one of `PACKED`, or "".

    Raises:
        OSError: the file cannot be opened.
    """
    if packed == ".gz":
        return gzip.GzipFile(path)
    if packed == ".zst":
        opened = pa.CompressedInputStream(open_for_arrow(path), "zstd")
        return BufferedReader(opened)
    return path.open("rb")
