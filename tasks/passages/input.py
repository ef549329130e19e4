"""The input of a run: its files of passages, how each is read, and what identifies their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from tasks.config.settings import DatasetSettings, FieldSettings
from tasks.findings import Finding
from tasks.passages.files import find_files, hash_files
from tasks.passages.finding.file import Given, InputFile, show_given, show_path
from tasks.passages.inspection import find_layout
from tasks.passages.layout import AT_LEAST_ONE, DELIMITER, KEY, Layout, NoRows

ReadableFile = tuple[InputFile, Layout]
"""A file, and how it is read."""


@dataclass(frozen=True)
class Input:
    """Files of passages of one shape.

    Attributes:
        given: what the config names.
        files: all files, in order.
        layouts: how those are read that have rows, by their position; at least one.
        named: the names of fields that the config gives, by role.
    """

    given: Given
    files: tuple[InputFile, ...]
    layouts: Mapping[int, Layout]
    named: Mapping[str, str]

    @classmethod
    def of(cls, dataset: DatasetSettings) -> Self | Finding | None:
        """Return the input of a config, or why it cannot be read; None for a named data set.

        Raises:
            ObjectStoreError: an object store does not answer.
        """
        if dataset.file is None:
            return None
        return cls.find(
            dataset.file,
            dataset.template,
            dataset.encoding,
            dataset.fields,
            dataset.format,
            dataset.delimiter,
        )

    @classmethod
    def find(
        cls,
        given: Given,
        template: int = 1,
        encoding: str | None = None,
        fields: FieldSettings | None = None,
        format_: str | None = None,
        delimiter: str | None = None,
    ) -> Self | Finding:
        """Return how files of passages are read, or why they cannot be; as `find_layout`.

        Raises:
            ObjectStoreError: an object store does not answer.
        """
        files = find_files(given)
        if isinstance(files, Finding):
            return files
        layouts: dict[int, Layout] = {}
        empty: Finding | None = None
        for number, file in enumerate(files):
            found = find_layout(
                file.path,
                template,
                encoding,
                fields,
                format_,
                file.columns,
                delimiter,
                file.place,
            )
            if isinstance(found, NoRows):
                empty = found
            elif isinstance(found, Finding):
                return found
            elif delimiter is not None and found.format != ".csv":
                problem = f"{show_path(file.place)} is {found.format}, which has no delimiter"
                return Finding(DELIMITER, problem, "leave it out")
            else:
                layouts[number] = found
        if not layouts and (empty is None or len(files) > 1):
            return Finding(KEY, f"{show_given(given)} has no rows", AT_LEAST_ONE)
        named = {} if fields is None else fields.model_dump(exclude_none=True)
        found_input = cls(given, files, layouts, named)
        return empty if empty and not layouts else found_input._find_mix() or found_input

    @property
    def first(self) -> Layout:
        """How the first file that has rows is read."""
        return next(iter(self.layouts.values()))

    @property
    def readable(self) -> list[ReadableFile]:
        """The files that have rows, in order."""
        return [(self.files[number], layout) for number, layout in self.layouts.items()]

    @cached_property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.path.stat().st_size for file in self.files)

    def describe(self) -> str:
        """Return how many files there are, if several, which fields are read, and of which text."""
        count = "" if self.files[0].name is None else f"{len(self.files)} files: "
        return f"{count}{self.first.describe()}{self.first.describe_text()}"

    def find_choice(self) -> Finding | None:
        """Return a warning if other fields could be read as well, and the config names none."""
        places = (show_path(self.files[number].place) for number in self.layouts)
        found = zip(places, self.layouts.values(), strict=True)
        return next((one for at, layout in found if (one := layout.find_choice(at))), None)

    def identify(self) -> dict[str, object]:
        """Return what identifies the rows.

        For a file that is named by itself, that is its `kind` and the `sha256` of its bytes; for
        others the `format` and `files`: the sha256 of each by its name, and their `order` if it is
        not that of their names. Besides, what the config decides, and not the files: `encoding`,
        `delimiter`, `fields`; and `columns` of folders if one may be read.

        Raises:
            InputError: a file cannot be read.
        """
        hashes, layouts = hash_files(self.files), self.layouts.values()
        if isinstance(hashes, str):
            return {"kind": self.first.kind, "sha256": hashes, **self.first.find_deviations()}
        given = [one.encoding for one in layouts if one.is_encoding_given]
        asked = [one.delimiter for one in layouts if one.is_delimiter_given]
        used = [one.fields.readable & one.extra.keys() for one in layouts]
        columns = {str(file.name): dict(file.columns) for file in self.files}
        return {
            "format": self.first.format,
            "files": hashes,
            **({"order": [*hashes]} if [*hashes] != sorted(hashes) else {}),
            **({"encoding": given[0]} if given else {}),
            **({"delimiter": asked[0]} if asked else {}),
            **({"fields": dict(self.named)} if self.named else {}),
            **({"columns": columns} if any(used) else {}),
        }

    def _find_mix(self) -> Finding | None:
        """Return the first file whose format or fields are not those of the first file."""
        place = show_path(self.files[next(iter(self.layouts))].place)
        for number, layout in self.layouts.items():
            other = show_path(self.files[number].place)
            if layout.format != self.first.format:
                problem = f"{other} is {layout.format}, but {place} is {self.first.format}"
                return Finding(KEY, problem, "give files of one format")
            if self.first.has_other_pair(layout):
                problem = f"{other}: {layout.describe()}; but {place}: {self.first.describe()}"
                return Finding(KEY, problem, "give files of one shape, or set dataset.fields")
        return None
