"""PaddleNLP's data sets, which it downloads by name."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tasks.engine.paddle.runtime import Untyped, import_paddlenlp
from tasks.errors import DownloadError, InputError, describe_error

SILENCE_SECONDS = 60.0


def read_named_passages(dataset_name: str, split: str = "dev") -> Iterator[dict[str, Any]]:
    """Read a split of one of PaddleNLP's data sets lazily, as records of passages.

    Paddle itself tries a download three times.

    Raises:
        DownloadError: it cannot be downloaded now.
        InputError: PaddleNLP has no such data set or split, or cannot read it; after the last row,
            its file is not the published one.
    """
    load_dataset = import_paddlenlp("datasets").datasets.load_dataset
    remedy = "give a file in `dataset.predict_file`"
    # PaddleNLP looks up unknown names on the Hugging Face hub, and cannot read those lazily
    is_name = dataset_name.replace("-", "_").isidentifier()
    if not is_name or find_spec(f"paddlenlp.datasets.{dataset_name}") is None:
        raise InputError(f"PaddleNLP has no data set `{dataset_name}`; {remedy}")
    if split not in (known := _splits_of(dataset_name)):
        splits = f"it has {', '.join(known)}" if known else remedy
        raise InputError(f"PaddleNLP's data set `{dataset_name}` has no split `{split}`; {splits}")
    # It warns that lazily read data can be read only once, as it is here.
    warnings.filterwarnings("ignore", "Reciving generator", UserWarning)
    name, rows = f"PaddleNLP's data set `{dataset_name}`", 0
    try:
        with _downloads_bounded():
            records = load_dataset(dataset_name, splits=split, lazy=True)
    except Exception as error:  # a failed download has no exception of its own
        raise DownloadError(
            f"{name} cannot be downloaded: {describe_error(error)}; check the network, or {remedy}"
        ) from error
    try:
        for record in records:
            rows += 1
            yield record
    except Exception as error:
        raise InputError(
            f"{name} cannot be read after {rows} rows: {describe_error(error)}; {remedy}"
        ) from error
    if not _is_published(dataset_name, split):
        raise InputError(
            f"{name} is not the published one: its file was damaged "
            "by the download, or replaced; run again, and PaddleNLP downloads it again"
        )


@contextmanager
def _downloads_bounded() -> Iterator[None]:
    """Let Paddle's downloads in the block fail if the server says nothing for `SILENCE_SECONDS`.

    Paddle waits for ever: it turns the limits of its HTTP client off.
    """
    module = import_module("paddle.utils.download")
    client = module.httpx
    stream = partial(_stream, client.stream)
    vars(module)["httpx"] = SimpleNamespace(stream=stream)
    try:
        yield
    finally:
        vars(module)["httpx"] = client


def _stream(stream: Untyped, *request: str, **options: Any) -> Untyped:  # noqa: ANN401 of httpx
    return stream(*request, **{**options, "timeout": SILENCE_SECONDS})


def _splits_of(dataset_name: str) -> Mapping[str, Any]:
    """Return what PaddleNLP knows of the files of a data set, by the names of its splits.

    A data set that consists of several, as glue, has none.
    """
    module = import_paddlenlp("datasets.dataset").datasets.dataset
    splits: Mapping[str, Any] = getattr(module.import_main_class(dataset_name), "SPLITS", {})
    return splits


def _is_published(dataset_name: str, split: str) -> bool:
    """Return whether the file of a split has the md5 that PaddleNLP knows, if it knows one.

    PaddleNLP compares it before it reads a file that it has, but not after a download. An md5 that
    several splits have is that of the archive of their files, as in dureader_checklist.
    """
    module = import_paddlenlp("datasets.dataset").datasets.dataset
    builder, splits = module.import_main_class(dataset_name), _splits_of(dataset_name)
    known = getattr(splits[split], "md5", None)
    path = Path(module.DATA_HOME, builder.__name__, getattr(splits[split], "file", ""))
    is_of_archive = [getattr(one, "md5", None) for one in splits.values()].count(known) > 1
    if known is None or is_of_archive or not path.is_file():
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == str(known)
