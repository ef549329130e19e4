"""The config as pydantic models: one class per section, with all defaults and limits.

Keys keep the names and meanings of the flags of PaddleNLP's question-generation scripts. The
models are frozen, forbid unknown keys and do not convert types. `sections/` has those of
`dataset`, `decode`, `shards`, `predict`, `cluster`, `aggregate` and `quality`; `loading.py` reads a
file and reports its faults.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import Field, model_validator

from tasks.addresses import place_at
from tasks.config.sections.aggregation import PARTIAL_SUFFIX as PARTIAL_SUFFIX
from tasks.config.sections.aggregation import REFERENCES_SUFFIX as REFERENCES_SUFFIX
from tasks.config.sections.aggregation import AggregateSettings as AggregateSettings
from tasks.config.sections.aggregation import KeepSettings as KeepSettings
from tasks.config.sections.cluster import ClusterSettings as ClusterSettings
from tasks.config.sections.dataset import UTF_8 as UTF_8
from tasks.config.sections.dataset import DatasetSettings as DatasetSettings
from tasks.config.sections.dataset import FieldSettings as FieldSettings
from tasks.config.sections.decoding import DecodeSettings as DecodeSettings
from tasks.config.sections.prediction import PredictSettings as PredictSettings
from tasks.config.sections.prediction import ShardSettings as ShardSettings
from tasks.config.sections.quality import QualitySettings as QualitySettings
from tasks.config.sections.section import (
    DatedText,
    EndpointText,
    PathText,
    PlaceText,
    Section,
)


class StoreSettings(Section):
    """Where the checkpoints of the stages are stored."""

    path: PlaceText = Field(
        "wenti-store",
        description="Folder of the store, or `s3://bucket/prefix` or `az://container/prefix` in an "
        "object store.",
    )
    endpoint: EndpointText | None = Field(
        None,
        description="URL of the server of all s3:// or az:// addresses. null: that of AWS or "
        "Azure, or of the environment variable AWS_ENDPOINT_URL or AZURE_STORAGE_ENDPOINT.",
    )
    cache: PathText | None = Field(
        None,
        description="Folder on this machine for copies of what is in the object store. null: "
        "~/.cache/wenti/objects.",
    )
    url: DatedText | None = Field(
        None,
        description="URL at which your web server serves that folder; for links in Prefect's UI.",
    )

    @property
    def folder(self) -> PurePath:
        """`path`; it may be relative to the working folder."""
        return place_at(self.path)


class ModelSettings(Section):
    """Which model generates the questions."""

    model_name_or_path: PathText = Field(
        "unimo-text-1.0-dureader_qg",
        description="Folder of a UNIMO model, or the name of one that PaddleNLP can download. "
        "Trained to write questions: unimo-text-1.0-dureader_qg, "
        "unimo-text-1.0-question-generation, unimo-text-1.0-question-generation-dureader_qg.",
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_trust_checkpoint(cls, values: object) -> object:
        """Accept configs and runs of the time when it allowed weights to run code."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if key != "trust_checkpoint"}


class ExportSettings(Section):
    """How the model is exported to a static graph."""

    engine: Literal["auto", "native", "faster_transformer", "fake"] = Field(
        "auto",
        description="auto: the best engine that this machine can use. fake: made-up questions, "
        "to try a config without running a model.",
    )
    inference_model_dir: PathText | None = Field(
        None,
        description="Folder for a second copy of the exported model, with its tokenizer. If the "
        "model has no weights, an earlier copy there is used. null: only in the store.",
    )
    use_fp16_decoding: bool = Field(
        False, description="Export the model in half precision (GPU only)."
    )
    decoding_lib: PathText | None = Field(
        None,
        description="Shared library with PaddleNLP's faster_transformer operators. null: built "
        "during the export.",
    )

    @property
    def copy_folder(self) -> Path | None:
        """`inference_model_dir`; None without a copy."""
        return None if self.inference_model_dir is None else Path(self.inference_model_dir)

    @property
    def library(self) -> Path | None:
        """`decoding_lib`; None if it is built."""
        return None if self.decoding_lib is None else Path(self.decoding_lib)


class ReportSettings(Section):
    """How the report of a run, report.html, is shown."""

    language: Literal["auto", "zh", "en"] = Field(
        "auto", description="zh: Chinese. en: English. auto: that of the browser."
    )


class Settings(Section):
    """A whole config."""

    store: StoreSettings = StoreSettings()
    model: ModelSettings = ModelSettings()
    dataset: DatasetSettings = DatasetSettings()
    export: ExportSettings = ExportSettings()
    decode: DecodeSettings = DecodeSettings()
    shards: ShardSettings = ShardSettings()
    predict: PredictSettings = PredictSettings()
    cluster: ClusterSettings = ClusterSettings()
    aggregate: AggregateSettings = AggregateSettings()
    quality: QualitySettings = QualitySettings()
    report: ReportSettings = ReportSettings()

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
        "store.endpoint",
        "store.cache",
        "store.url",
        "cluster.address",
        "cluster.resources",
        "export.inference_model_dir",
        "export.decoding_lib",
        "aggregate.output_path",
        "aggregate.output_folder",
    }
)
"""Keys by which a run runs code, here or elsewhere, takes what the users of a cluster share, names
places to write to, or links to pages from Prefect's UI."""
