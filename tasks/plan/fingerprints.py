"""What decides the content of each checkpoint; the fingerprint is the sha256 of this.

Options that a device or a search ignores must not be included, or work would be repeated without
need; everything that changes a byte must be, or a wrong result would be reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.config.settings import DecodeSettings, Settings
from tasks.engine.export.tensorrt import TENSORRT_VERSION, ShapeRange
from tasks.engine.faster_transformer.compatibility import FASTER_TRANSFORMER
from tasks.engine.model_files import hash_model, hash_tokenizer
from tasks.engine.paddle.installation import describe_paddle, find_version
from tasks.engine.program.half_precision import HALF_VERSION
from tasks.engine.selection import ENGINE_VERSIONS, choose_engine
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages.files import find_files
from tasks.passages.input import Input
from tasks.store.local import file_sha256

# To be incremented when the same settings produce different files.
EXPORT_FORMAT = 1
DATASET_FORMAT = 1
COLUMNS_FORMAT = 1
TEMPLATE_4_FORMAT = 2  # of datasets with template 4
SHARD_FORMAT = 2
SAMPLING_FORMAT = 2

# Options that do not change the result, and options that the other kind of device ignores.
_NOT_IN_THE_RESULT = {
    *("executor", "devices", "logging_steps", "batch_deadline_seconds", "price_per_device_hour"),
}
_OTHER_DEVICES_OPTIONS = {"gpu": {"cpu_threads", "enable_mkldnn"}, "cpu": {"use_tensorrt"}}

_NOT_IN_THE_QUESTIONS = {
    "pyarrow",
    "dataset",
    "rows_per_shard",
    "batch_size",
    "max_tokens_per_batch",
    "cpu_threads",
}


def effective_decode(decode: DecodeSettings) -> DecodeSettings:
    """Return the settings with every option that the search ignores at its default."""
    kept = decode.model_dump(exclude=decode.unused_options)
    if decode.is_greedy:
        kept["decoding_strategy"] = "greedy_search"
    return DecodeSettings(**kept)


def decide_export(settings: Settings, model_folder: Path) -> dict[str, Any]:
    """Return what decides the exported model, including its engine.

    Raises:
        OSError: a file of the model, or `export.decoding_lib`, cannot be read.
    """
    decode, engine = settings.decode, choose_engine(settings, model_folder)
    return {
        "stage": "export",
        "format": EXPORT_FORMAT,
        "engine": engine,
        "engine_version": ENGINE_VERSIONS[engine],
        "paddlepaddle": describe_paddle(),
        "paddlenlp": find_version("paddlenlp"),
        "model": hash_model(model_folder),
        "decode": effective_decode(decode).model_dump(mode="json", exclude=decode.unused_options),
        "use_fp16_decoding": settings.is_half,
        **(_decide_tuning(settings) if engine == "native" else {}),
        **({"decoding_lib": _identify_library(settings)} if engine == FASTER_TRANSFORMER else {}),
    }


def shape_range(settings: Settings) -> ShapeRange | None:
    """Return the batch sizes that TensorRT engines are built for; None without TensorRT."""
    predict, longest = settings.predict, settings.dataset.max_seq_len
    if not predict.use_tensorrt:
        return None
    return ShapeRange(predict.batch_size, longest, predict.max_tokens_per_batch)


def _decide_tuning(settings: Settings) -> dict[str, Any]:
    """Return what distinguishes an optimized native export; empty for the plain one."""
    shapes = shape_range(settings)
    half = {"half_version": HALF_VERSION} if settings.is_half else {}
    if shapes is None:
        return half
    return {**half, "tensorrt": {"version": TENSORRT_VERSION, **asdict(shapes)}}


def decide_dataset(settings: Settings, model_folder: Path) -> dict[str, Any]:
    """Return what decides the tokenized parts and the rejects.

    Raises:
        InputError: the passages cannot be read.
        OSError: a file of the tokenizer cannot be read.
    """
    dataset = settings.dataset
    return {
        "stage": "load",
        "format": TEMPLATE_4_FORMAT if dataset.template == 4 else DATASET_FORMAT,
        "paddlenlp": find_version("paddlenlp"),
        "pyarrow": version("pyarrow"),
        "tokenizer": hash_tokenizer(model_folder),
        "passages": _identify_passages(settings),
        **dataset.model_dump(include={"template", "max_seq_len", "max_title_len"}),
        **({} if dataset.limit is None else {"limit": dataset.limit}),
    }


def decide_columns(settings: Settings, dataset_fingerprint: str) -> dict[str, Any]:
    """Return what decides the kept columns: the rows, and what no dataset depends on."""
    given = settings.dataset.file
    found = () if given is None else find_files(given)
    files = () if isinstance(found, Finding) else found
    folders = {str(file.name): dict(file.columns) for file in files if file.columns}
    return {
        "stage": "columns",
        "format": COLUMNS_FORMAT,
        "pyarrow": version("pyarrow"),
        "dataset": dataset_fingerprint,
        "keep_columns": settings.dataset.keep_columns,
        **({"folders": folders} if folders else {}),
    }


def decide_predictions(
    settings: Settings, export_fingerprint: str, dataset_fingerprint: str
) -> dict[str, Any]:
    """Return what decides the shards.

    Batch sizes and threads are included: they change the order of floating-point sums, and so the
    last digits of a score.
    """
    sampling = {"sampling": SAMPLING_FORMAT} if settings.decode.is_sampling else {}
    kind = settings.predict.device_kind
    ignored = _NOT_IN_THE_RESULT | _OTHER_DEVICES_OPTIONS[kind]
    return {
        "stage": "predict",
        "format": SHARD_FORMAT,
        "pyarrow": version("pyarrow"),
        "export": export_fingerprint,
        "dataset": dataset_fingerprint,
        "rows_per_shard": settings.shards.rows_per_shard,
        **settings.predict.model_dump(mode="json", exclude=ignored),
        "device": kind,
        **sampling,
    }


def decides_questions(decided_by: Mapping[str, Any]) -> dict[str, Any]:
    """Return what, of all that decides shards, decides the questions of a row's tokens.

    A row's tokens do not depend on how rows are divided into shards and batches.
    """
    return {name: value for name, value in decided_by.items() if name not in _NOT_IN_THE_QUESTIONS}


def _identify_library(settings: Settings) -> str:
    library = settings.export.library
    # If PaddleNLP builds it from its own sources, PaddleNLP's version decides it.
    return "built" if library is None else file_sha256(library)


def _identify_passages(settings: Settings) -> dict[str, object]:
    dataset = settings.dataset
    found = Input.of(dataset)
    if found is None:
        # PaddleNLP pins the md5 of its data sets, so its version decides the content.
        fields = {} if dataset.fields is None else dataset.fields.model_dump(exclude_none=True)
        named = {"dataset_name": dataset.dataset_name, "split": dataset.split}
        return {**named, **({"fields": fields} if fields else {})}
    if isinstance(found, Finding):
        raise InputError(str(found))
    return found.identify()
