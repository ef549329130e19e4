"""What is to be done with a group of files: counting its rows, then loading them.

The rows of all groups are numbered as in one pass, so the rows before a group are counted first,
which takes a twentieth of the time. Columns to keep are written on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path, PurePath

from tasks.columns.source import Tap
from tasks.columns.store import ColumnsWriter, Written
from tasks.errors import InputError
from tasks.load.dataset import ROWS_ALONE, LoadRequest, make_tokenizer, refuse_bad_rows
from tasks.load.encoding import QuestionTokenizer, encode_rows
from tasks.load.groups.division import Group
from tasks.load.helpers import Helpers
from tasks.load.parts import DatasetDetails, PartWriter
from tasks.passages.files import hash_files
from tasks.passages.finding.file import show_given
from tasks.passages.layout import Layout, RawRow
from tasks.passages.reader import count_rows, read_files
from tasks.passages.records import Reject
from tasks.store.files import staging_folder
from tasks.store.manifest import Manifest, commit_manifest, find_checkpoint, fingerprint

FORMAT = 1
KIND = "group"


@dataclass(frozen=True)
class Count:
    """Count the rows of a group.

    Attributes:
        group: the files.
        columns: a folder for the columns to keep, which is made; None: keep none.
        checks: whether to compare the files with the request's sha256, as after loading.
    """

    group: Group
    columns: Path | None = None
    checks: bool = False


@dataclass(frozen=True)
class Counted:
    """The number of rows of a group, and the columns that are kept of them."""

    rows: int
    columns: Written | None


@dataclass(frozen=True)
class Load:
    """Load a group; its first row has the number `first`, and it has so many, if that is known."""

    group: Group
    first: int
    rows: int | None


class GroupWorker:
    """Does the work of one group after the other.

    Args:
        request: what the groups are of.
        helpers: how many processes may help to tokenize.
    """

    def __init__(self, request: LoadRequest, helpers: int = 0) -> None:
        self._request, self._helpers = request, helpers

    def work(self, job: object) -> Counted | Manifest:
        """Return what is asked for: of `Count` a `Counted`, of `Load` the manifest of a group.

        Raises:
            InputError: a file cannot be read or has changed; a row is bad while `on_bad_row` is
                `fail`.
            ModelError: the model folder has no usable vocabulary, or it has changed.
            StorageError: the store cannot be written.
            WorkerError: a helper died.
        """
        match job:
            case Count():
                return self._count(job)
            case Load():
                return self._find(job) or self._load(job)
        raise TypeError(f"no group is worked on with a {type(job).__name__}")

    def _count(self, job: Count) -> Counted:
        files, columns = job.group.files, None
        if job.columns is None:
            rows = count_rows(files)
        else:
            job.columns.mkdir()
            rows, columns = self._count_and_keep(job.group, job.columns)
        if job.checks:
            self._check_unchanged(job.group)
        return Counted(rows, columns)

    def _count_and_keep(self, group: Group, folder: Path) -> tuple[int, Written]:
        asked = self._request.keep_columns
        tap, writer = Tap(asked), ColumnsWriter(folder, asked)

        def note(path: Path, layout: Layout, raw: RawRow) -> None:
            tap.note(path, layout, raw)
            writer.add(tap.waiting.popleft())

        rows = count_rows(group.files, note)
        writer.flush()
        return rows, writer.written()

    def _find(self, job: Load) -> Manifest | None:
        """Return what an earlier process has made of the group, before it was stopped."""
        request = self._request
        if request.input_sha256 is None:
            return None
        place, wanted = place_of_group(request, job.group), fingerprint(self._decided_by(job))
        manifest = find_checkpoint(place, wanted).manifest
        if manifest is not None:  # the files may have changed since, and been counted so
            self._check_unchanged(job.group)
            self._check_rows(job, DatasetDetails.of(manifest).rows_in)
        return manifest

    def _load(self, job: Load) -> Manifest:
        request, group = self._request, job.group
        others = Helpers(self._helpers, partial(make_tokenizer, request))
        # Of its own: no node takes the staging folder of another for abandoned.
        own = place_of_group(request, group).with_suffix("")
        with staging_folder(own) as staging, others, PartWriter(staging) as writer:
            rows = read_files(group.files, job.first)
            alone = islice(rows, ROWS_ALONE) if self._helpers else rows
            encoded = chain(encode_rows(alone, self._tokenizer.encode), others.encode(rows))
            for row in refuse_bad_rows(encoded, request.on_bad_row):
                if isinstance(row, Reject):
                    writer.reject(row)
                else:
                    writer.add(*row)
            self._check_unchanged(group)
            self._check_rows(job, writer.rows + writer.reasons.total())
            decided_by = self._decided_by(job)
            manifest = Manifest(
                kind=KIND,
                fingerprint=fingerprint(decided_by),
                decided_by=decided_by,
                files=writer.publish(request.folder, group.number),
                details=writer.details().as_dict(),
            )
        commit_manifest(place_of_group(request, job.group), manifest)
        return manifest

    def _check_unchanged(self, group: Group) -> None:
        known = self._request.input_sha256
        if not isinstance(known, Mapping) or not group.files:
            return
        found = hash_files([file for file, _ in group.files])
        if found != {name: known.get(name) for name in found}:
            raise changed(self._request)

    def _check_rows(self, job: Load, rows: int) -> None:
        if job.rows not in {None, rows}:
            raise changed(self._request)

    def _decided_by(self, job: Load) -> dict[str, object]:
        known = self._request.input_sha256
        hashes = known if isinstance(known, Mapping) else {}
        names = [str(file.name) for file, _ in job.group.files]
        return {
            "format": FORMAT,
            "dataset": self._request.fingerprint,
            "files": [[name, hashes.get(name)] for name in names],
            "first": job.first,
        }

    @cached_property
    def _tokenizer(self) -> QuestionTokenizer:
        return make_tokenizer(self._request)


def place_of_group(request: LoadRequest, group: Group) -> PurePath:
    """Return the place of the manifest of a group that is loaded."""
    return request.folder / f"group-{group.number:05d}.json"


def changed(request: LoadRequest) -> InputError:
    """Return the error of files that are not what they were."""
    given = "the passages" if request.predict_file is None else show_given(request.predict_file)
    return InputError(f"{given} changed while it was read; run again")
