"""PaddleNLP's data sets, which it downloads by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from tasks.engine.paddle.runtime import import_paddlenlp
from tasks.errors import InputError


def read_named_passages(dataset_name: str) -> Iterator[dict[str, Any]]:
    """Read the dev split of one of PaddleNLP's data sets lazily, as records for `parse_record`.

    Raises:
        InputError: PaddleNLP has no such data set, or cannot download or read it.
    """
    load_dataset = import_paddlenlp("datasets").datasets.load_dataset
    remedy = "give a file in `dataset.predict_file`"
    # PaddleNLP looks up unknown names on the Hugging Face hub, and cannot read those lazily
    is_name = dataset_name.replace("-", "_").isidentifier()
    if not is_name or find_spec(f"paddlenlp.datasets.{dataset_name}") is None:
        raise InputError(f"PaddleNLP has no data set `{dataset_name}`; {remedy}")
    # It warns that lazily read data can be read only once, as it is here.
    warnings.filterwarnings("ignore", "Reciving generator", UserWarning)
    rows = 0
    try:
        for record in load_dataset(dataset_name, splits="dev", lazy=True):
            rows += 1
            yield record
    except Exception as error:  # a failed download has no exception of its own
        raise InputError(
            f"PaddleNLP's data set `{dataset_name}` cannot be read after {rows} rows:"
            f" {type(error).__name__}: {error}; check the network, or {remedy}"
        ) from error
