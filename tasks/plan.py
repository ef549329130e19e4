"""What a run consists of: the checkpoint of each stage, its folder, and what decides its content.

Making a plan reads and hashes the model and the passages; it imports neither Paddle nor Prefect
and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.engine.contract import FASTER_TRANSFORMER_VERSION, NATIVE_VERSION
from tasks.engine.fake import FAKE_VERSION
from tasks.engine.faster_transformer.reasons import FASTER_TRANSFORMER, choose_engine
from tasks.engine.gpu.tensorrt import TENSORRT_VERSION, ShapeRange
from tasks.engine.half.precision import HALF_VERSION
from tasks.model_files import hash_model, hash_tokenizer
from tasks.passage_kinds import identify
from tasks.settings import DecodeSettings, Settings
from tasks.store import MANIFEST, Found, Store, file_sha256, find_checkpoint, fingerprint

# Raised when the same settings begin to give other files.
EXPORT_FORMAT = 1
DATASET_FORMAT = 1
SHARD_FORMAT = 2

ENGINE_VERSIONS = {
    "native": NATIVE_VERSION,
    FASTER_TRANSFORMER: FASTER_TRANSFORMER_VERSION,
    "fake": FAKE_VERSION,
}

# Options that a device does not look at must not decide what is reused.
_NOT_IN_THE_RESULT = {"devices", "logging_steps", "batch_deadline_seconds"}
_OTHER_DEVICES_OPTIONS = {"gpu": {"cpu_threads", "enable_mkldnn"}, "cpu": {"use_tensorrt"}}


@dataclass(frozen=True)
class Planned:
    """One checkpoint to be: where it goes, its fingerprint, and what that is made of."""

    folder: Path
    fingerprint: str
    decided_by: dict[str, Any]

    @property
    def manifest_path(self) -> Path:
        """Where its manifest is, for checkpoints that are a whole folder."""
        return self.folder / MANIFEST

    @property
    def is_there(self) -> bool:
        """Whether the store has it, if it is not damaged."""
        return self.manifest_path.is_file()

    def find(self) -> Found:
        """Look it up in the store and verify it."""
        return find_checkpoint(self.manifest_path, self.fingerprint)


@dataclass(frozen=True)
class Plan:
    """The checkpoints of a run."""

    settings: Settings
    store: Store
    model_folder: Path
    export: Planned
    dataset: Planned
    predictions: Planned

    @property
    def engine(self) -> str:
        """The engine that exports the model."""
        return str(self.export.decided_by["engine"])

    @property
    def decided_by(self) -> dict[str, dict[str, Any]]:
        """What decides each of the three checkpoints."""
        planned = {"export": self.export, "dataset": self.dataset, "predictions": self.predictions}
        return {name: one.decided_by for name, one in planned.items()}


def open_store(settings: Settings) -> Store:
    """Give the store that the settings name."""
    return Store(Path(settings.store.path).expanduser())


def make_plan(settings: Settings, model_folder: Path) -> Plan:
    """Compute the fingerprints of every stage from the settings, the model and the passages."""
    store = open_store(settings)
    export = _planned(decide_export(settings, model_folder), store.export_folder)
    dataset = _planned(decide_dataset(settings, model_folder), store.dataset_folder)
    decided = decide_predictions(settings, export.fingerprint, dataset.fingerprint)
    predictions = _planned(decided, store.predictions_folder)
    return Plan(settings, store, model_folder, export, dataset, predictions)


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
        "paddlepaddle": paddle_version(),
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


def paddle_version() -> str:
    """Give the version of the installed Paddle, for the CPU or the GPU."""
    for name in ("paddlepaddle-gpu", "paddlepaddle"):
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "not installed"


def _identify_library(settings: Settings) -> str:
    library = settings.export.decoding_lib
    # Built of its own sources, PaddleNLP's version decides it.
    return "built" if library is None else file_sha256(Path(library).expanduser())


def _identify_passages(settings: Settings) -> dict[str, str]:
    if settings.dataset.predict_file is None:
        # PaddleNLP pins the content of its data sets by their md5, so its version decides it.
        return {"dataset_name": settings.dataset.dataset_name, "split": "dev"}
    return identify(Path(settings.dataset.predict_file).expanduser())


def _planned(decided_by: dict[str, Any], folder_of: Callable[[str], Path]) -> Planned:
    digest = fingerprint(decided_by)
    return Planned(folder_of(digest), digest, decided_by)
