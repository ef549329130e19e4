"""The config as pydantic models: one class per section, with all defaults and limits.

Keys keep the names and meanings of the flags of PaddleNLP's question-generation scripts. The
models are frozen, forbid unknown keys and do not convert types. `decoding.py` has the section
`decode`; `loading.py` reads a file and reports its faults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from tasks.config.decoding import DecodeSettings as DecodeSettings
from tasks.config.section import Section, Text

DeviceKind = Literal["gpu", "cpu"]
DeviceName = Annotated[str, StringConstraints(pattern=r"^((gpu|cpu)(:\d+)?|all)$")]
ALL = ("all",)


def as_path(text: str) -> Path:
    """Return a path of the config with `~` expanded; it may be relative to the working folder."""
    return Path(text).expanduser()


UTF_8 = "utf-8"

REFERENCES_SUFFIX = ".reference.txt"
"""Of the file with the references, as in PaddleNLP's inference.py."""

PARTIAL_SUFFIX = ".partial"
"""Of the file that marks a text as partial."""


class StoreSettings(Section):
    """Where the checkpoints of the stages are stored."""

    path: Text = Field("wenti-store", description="Folder of the store.")
    url: Text | None = Field(
        None,
        description="URL at which your web server serves that folder; for links in Prefect's UI.",
    )

    @property
    def folder(self) -> Path:
        """`path` with `~` expanded."""
        return as_path(self.path)


class ModelSettings(Section):
    """Which model generates the questions."""

    model_name_or_path: Text = Field(
        "unimo-text-1.0",
        description="Folder of a UNIMO model, or the name of one that PaddleNLP can download.",
    )
    trust_checkpoint: bool = Field(
        False,
        description="Load weights whose pickle can run code. Only for a model from a source that "
        "you trust.",
    )


class FieldSettings(Section):
    """Names of the fields (columns) of the passages."""

    context: Text | None = Field(None, description="Field of the passage.")
    answer: Text | None = Field(None, description="Field of the answer.")
    reference: Text | None = Field(None, description="Field of the reference question.")
    id: Text | None = Field(None, description="Field of the id.")

    @field_validator("answer")
    @classmethod
    def _answer_is_another_field(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value == info.data.get("context"):
            raise ValueError("allowed here: another field than that of context")
        return value


class DatasetSettings(Section):
    """Which passages are read, and how they are tokenized."""

    dataset_name: Text = Field(
        "dureader_qg",
        description="PaddleNLP data set whose dev split is used if predict_file is null.",
    )
    predict_file: Text | None = Field(
        None,
        description="File of passages: .jsonl, .json or .csv, optionally with .gz, or .parquet; "
        "another name: its content tells the format. null: use dataset_name.",
    )
    encoding: Text | None = Field(
        None,
        description="Encoding of predict_file, such as gb18030, unless it has a byte order mark. "
        "null: UTF-8.",
    )
    fields: FieldSettings | None = Field(
        None,
        description="Names of the fields (columns) of predict_file, such as {context: passage, "
        "answer: ans}. By default, context and answer are those of these names, or else source and "
        "title; reference is question, or else target; id is id.",
    )
    template: int = Field(
        1,
        ge=0,
        le=4,
        description="How passage and answer are joined; numbered as in PaddleNLP's example.",
    )
    max_seq_len: int = Field(
        512, ge=8, description="Maximum tokens of a row, including the start token."
    )
    max_title_len: int = Field(30, ge=1, description="Maximum tokens of the title (template 0).")
    on_bad_row: Literal["reject", "fail"] = Field(
        "reject", description="reject: record an unusable row and continue. fail: stop the run."
    )

    @property
    def file(self) -> Path | None:
        """`predict_file` with `~` expanded; None for the named data set."""
        return None if self.predict_file is None else as_path(self.predict_file)

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        try:
            "a".encode(value or UTF_8)
        except (LookupError, ValueError):  # unknown, or not of texts; not a name at all
            raise ValueError("allowed here: an encoding of Python, such as gb18030") from None
        return value

    @field_validator("max_title_len")
    @classmethod
    def _title_leaves_room(cls, value: int, info: ValidationInfo) -> int:
        longest = info.data.get("max_seq_len")
        if longest is not None and value > longest - 4:
            raise ValueError(f"allowed here: at most max_seq_len - 4 = {longest - 4}")
        return value


class ExportSettings(Section):
    """How the model is exported to a static graph."""

    engine: Literal["auto", "native", "faster_transformer", "fake"] = Field(
        "auto",
        description="auto: the best engine that this machine can use. fake: made-up questions, "
        "to try a config without running a model.",
    )
    inference_model_dir: Text | None = Field(
        None,
        description="Folder for a second copy of the exported model. null: only in the store.",
    )
    use_fp16_decoding: bool = Field(
        False, description="Export the model in half precision (GPU only)."
    )
    decoding_lib: Text | None = Field(
        None,
        description="Shared library with PaddleNLP's faster_transformer operators. null: built "
        "during the export.",
    )

    @property
    def copy_folder(self) -> Path | None:
        """`inference_model_dir` with `~` expanded; None without a copy."""
        return None if self.inference_model_dir is None else as_path(self.inference_model_dir)

    @property
    def library(self) -> Path | None:
        """`decoding_lib` with `~` expanded; None if it is built."""
        return None if self.decoding_lib is None else as_path(self.decoding_lib)


class ShardSettings(Section):
    """How the predict stage is divided into shards."""

    rows_per_shard: int = Field(
        4096, ge=1, description="Rows per shard: the unit that is retried and rerun."
    )
    commit_seconds: float = Field(
        60.0,
        ge=0,
        description="Seconds after which the batches of an unfinished shard that are done are"
        " written to the store: the most work of a worker that is lost when everything is killed.",
    )
    reuse_rows: bool = Field(
        True,
        description="Take the questions of rows that the same model has answered before, with the"
        " same options, from the store. Their scores can differ in the last digits from those that"
        " generating them again would give.",
    )


class PredictSettings(Section):
    """On which devices and in what batches the graph runs."""

    device: DeviceKind = Field("gpu", description="Kind of device; used if devices is null.")
    devices: tuple[DeviceName, ...] | None = Field(
        None,
        strict=False,  # YAML has lists, not tuples
        min_length=1,
        description="One worker per device, such as [gpu:0, gpu:1]; all of one kind. "
        "all: every GPU.",
    )
    batch_size: int = Field(16, ge=1, description="Maximum rows of a batch.")
    max_tokens_per_batch: int = Field(
        8192,
        ge=1,
        description="Maximum tokens of a batch, including padding; a single row is always allowed.",
    )
    precision: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="Precision of TensorRT; without TensorRT, fp16 exports the model in half "
        "precision.",
    )
    use_tensorrt: bool = Field(False, description="Run the encoder in TensorRT (GPU only).")
    enable_mkldnn: bool = Field(False, description="Use oneDNN (CPU only).")
    cpu_threads: int = Field(10, ge=1, description="Threads per worker (CPU only).")
    batch_deadline_seconds: float | None = Field(
        None,
        gt=0,
        description="Seconds after which a batch counts as hung. null: derived from the speed so "
        "far.",
    )
    logging_steps: int = Field(100, ge=1, description="Batches between two log lines.")

    @field_validator("devices", mode="before")
    @classmethod
    def _all_is_one_of_a_list(cls, value: object) -> object:
        return ALL if value == "all" else value

    @field_validator("devices")
    @classmethod
    def _devices_are_of_one_kind(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len({name.partition(":")[0] for name in value}) > 1:
            raise ValueError("allowed here: devices of one kind, all gpu or all cpu")
        if value is not None and len(value) > 1 and "all" in value:
            raise ValueError("allowed here: all, with nothing beside it")
        return value

    @property
    def device_kind(self) -> str:
        """`gpu` or `cpu`."""
        kind = (self.devices or (self.device,))[0].partition(":")[0]
        return "gpu" if kind == "all" else kind


class AggregateSettings(Section):
    """Which results a run writes."""

    output_path: Text | None = Field(
        None,
        description="File for a copy of the questions, one per line. null: only in the run's "
        "folder.",
    )
    allow_partial: bool = Field(
        False,
        description="Continue without shards that fail; every output is marked as partial.",
    )

    @property
    def output(self) -> Path | None:
        """`output_path` with `~` expanded; None without a copy."""
        return None if self.output_path is None else as_path(self.output_path)

    @property
    def output_files(self) -> tuple[Path, ...]:
        """The files that may be written for `output_path`: texts, and marks of partial ones."""
        if self.output is None:
            return ()
        texts = (self.output, Path(f"{self.output}{REFERENCES_SUFFIX}"))
        return (*texts, *(Path(f"{text}{PARTIAL_SUFFIX}") for text in texts))


class Settings(Section):
    """A whole config."""

    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    dataset: DatasetSettings = DatasetSettings()
    export: ExportSettings = ExportSettings()
    decode: DecodeSettings = DecodeSettings()
    shards: ShardSettings = ShardSettings()
    predict: PredictSettings = PredictSettings()
    aggregate: AggregateSettings = AggregateSettings()

    @property
    def is_half(self) -> bool:
        """Whether the model is exported in half precision."""
        asked = self.predict.precision == "fp16" and not self.predict.use_tensorrt
        return self.export.use_fp16_decoding or asked

    def as_dict(self) -> dict[str, Any]:
        """Return all sections, keys and values as plain JSON types."""
        return self.model_dump(mode="json")


GUARDED_KEYS = frozenset(
    {
        "store.path",
        "store.url",
        "model.trust_checkpoint",
        "export.inference_model_dir",
        "export.decoding_lib",
        "aggregate.output_path",
    }
)
"""Keys by which a run runs code, names places to write to, or links to pages from Prefect's UI."""
