"""What decides the content of each checkpoint; a fingerprint is the sha256 of this.

An option that a device or a search does not look at must not be here, or work would be repeated for
nothing; anything that changes a byte must, or a wrong result would be reused.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasks.config.settings import DecodeSettings, Settings
from tasks.engine.export.tensorrt import TENSORRT_VERSION, ShapeRange
from tasks.engine.faster_transformer.compatibility import FASTER_TRANSFORMER
from tasks.engine.paddle.installation import describe_paddle
from tasks.engine.program.half_precision import HALF_VERSION
from tasks.engine.selection import ENGINE_VERSIONS, choose_engine
from tasks.passages.formats import identify
from tasks.plan.model import hash_model, hash_tokenizer
from tasks.store.local import file_sha256

# Raised when the same settings begin to give other files.
EXPORT_FORMAT = 1
DATASET_FORMAT = 1
SHARD_FORMAT = 2

# Options that a device does not look at must not decide what is reused.
_NOT_IN_THE_RESULT = {"devices", "logging_steps", "batch_deadline_seconds"}
_OTHER_DEVICES_OPTIONS = {"gpu": {"cpu_threads", "enable_mkldnn"}, "cpu": {"use_tensorrt"}}


def effective_decode(decode: DecodeSettings) -> DecodeSettings:
    """Give the settings with every option that the search does not look at at its default."""
    kept = decode.model_dump(exclude=decode.unused_options)
    if decode.is_greedy:
        kept["decoding_strategy"] = "greedy_search"
    return DecodeSettings(**kept)


def decide_export(settings: Settings, model_folder: Path) -> dict[str, Any]:
    """Collect what decides the exported model, its engine among it."""
    decode, engine = settings.decode, choose_engine(settings, model_folder)
    return {
        "stage": "export",
        "format": EXPORT_FORMAT,
        "engine": engine,
        "engine_version": ENGINE_VERSIONS[engine],
        "paddlepaddle": describe_paddle(),
        "paddlenlp": version("paddlenlp"),
        "model": hash_model(model_folder),
        "decode": effective_decode(decode).model_dump(mode="json", exclude=decode.unused_options),
        "use_fp16_decoding": settings.is_half,
        **(_decide_tuning(settings) if engine == "native" else {}),
        **({"decoding_lib": _identify_library(settings)} if engine == FASTER_TRANSFORMER else {}),
    }


def shape_range(settings: Settings) -> ShapeRange | None:
    """Give the batches that TensorRT is built for; None without TensorRT."""
    predict, longest = settings.predict, settings.dataset.max_seq_len
    if not predict.use_tensorrt:
        return None
    return ShapeRange(predict.batch_size, longest, predict.max_tokens_per_batch)


def _decide_tuning(settings: Settings) -> dict[str, Any]:
    """Collect what makes a native export another than the plain one; nothing for the plain one."""
    shapes = shape_range(settings)
    half = {"half_version": HALF_VERSION} if settings.is_half else {}
    if shapes is None:
        return half
    return {**half, "tensorrt": {"version": TENSORRT_VERSION, **asdict(shapes)}}


def decide_dataset(settings: Settings, model_folder: Path) -> dict[str, Any]:
    """Collect what decides the tokenised parts and the rejects."""
    dataset = settings.dataset
    return {
        "stage": "load",
        "format": DATASET_FORMAT,
        "paddlenlp": version("paddlenlp"),
        "pyarrow": version("pyarrow"),
        "tokenizer": hash_tokenizer(model_folder),
        "passages": _identify_passages(settings),
        **dataset.model_dump(include={"template", "max_seq_len", "max_title_len"}),
    }


def decide_predictions(
    settings: Settings, export_fingerprint: str, dataset_fingerprint: str
) -> dict[str, Any]:
    """Collect what decides the shards.

    Batches and threads are among it: they change the order of floating-point sums, and with it the
    last digits of a score.
    """
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
    }


def _identify_library(settings: Settings) -> str:
    library = settings.export.library
    # Built of its own sources, PaddleNLP's version decides it.
    return "built" if library is None else file_sha256(library)


def _identify_passages(settings: Settings) -> dict[str, str]:
    if settings.dataset.file is None:
        # PaddleNLP pins the content of its data sets by their md5, so its version decides it.
        return {"dataset_name": settings.dataset.dataset_name, "split": "dev"}
    return identify(settings.dataset.file)
