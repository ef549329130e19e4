"""The config as pydantic models: one class per section, with all defaults and limits.

Keys keep the names and meanings of the flags of PaddleNLP's question-generation scripts. The
models are frozen, forbid unknown keys and do not convert types. `sections/` has those of `decode`,
`shards` and `predict`; `loading.py` reads a file and reports its faults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from tasks.config.sections.decoding import DecodeSettings as DecodeSettings
from tasks.config.sections.prediction import PredictSettings as PredictSettings
from tasks.config.sections.prediction import ShardSettings as ShardSettings
from tasks.config.sections.section import (
    ColumnNames,
    DatedText,
    PathsText,
    PathText,
    Section,
    Text,
)


def _is_share_or_number(value: float) -> float:
    if value >= 1 and not value.is_integer():
        raise ValueError("allowed here: a share below 1, or a whole number of rows")
    return value


RowLimit = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_is_share_or_number)]
"""The most rows of a kind: below 1 a share of all rows, otherwise their number."""

UTF_8 = "utf-8"

REFERENCES_SUFFIX = ".reference.txt"
"""Of the file with the references, as in PaddleNLP's inference.py."""

PARTIAL_SUFFIX = ".partial"
"""Of the file that marks a text as partial."""


class StoreSettings(Section):
    """Where the checkpoints of the stages are stored."""

    path: PathText = Field("wenti-store", description="Folder of the store.")
    url: DatedText | None = Field(
        None,
        description="URL at which your web server serves that folder; for links in Prefect's UI.",
    )

    @property
    def folder(self) -> Path:
        """`path`; it may be relative to the working folder."""
        return Path(self.path)


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
        description="PaddleNLP data set that is used if predict_file is null. Those with passages, "
        "questions and answers: dureader_qg, dureader_robust, dureader_checklist, cmrc2018, drcd, "
        "drcd_cn, squad, triviaqa.",
    )
    split: Text = Field(
        "dev", description="Split of that data set, such as train; of squad, dev_v1 or dev_v2."
    )
    predict_file: PathsText = Field(
        None,
        description="File of passages: JSON lines, a JSON array, nested JSON such as SQuAD's, or "
        "CSV, optionally compressed with gzip or Zstandard; Parquet, Arrow, Excel's .xlsx. Or a "
        "folder, whose files with the suffixes of these formats are read in the order of their "
        "paths; or a pattern, such as data/*.jsonl; or a list of these. null: use dataset_name.",
    )
    format: Literal["jsonl", "json", "csv", "parquet", "arrow", "xlsx"] | None = Field(
        None,
        description="Format of predict_file. null: that of its content, or else of its name.",
    )
    encoding: Text | None = Field(
        None,
        description="Encoding of predict_file, such as gb18030, unless it has a byte order mark. "
        "null: UTF-8.",
    )
    delimiter: Text | None = Field(
        None,
        description="What separates the cells of CSV: one character, or tab. null: comma, tab, "
        "semicolon or bar, as fits its header.",
    )
    fields: FieldSettings | None = Field(
        None,
        description="Names of the fields (columns) of predict_file, such as {context: passage, "
        "answer: ans}. By default, context and answer are those of these names, or else source and "
        "title; several answers, a row each, are answers; reference is question, or else target; "
        "id is id.",
    )
    keep_columns: ColumnNames = Field(
        "all",
        description="Columns (fields) of the passages that are kept in predictions.parquet. all: "
        "those that Wenti does not use. Or none, or a list of names.",
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

    limit: int | None = Field(
        None,
        ge=1,
        description="Read only so many usable rows, from the beginning: for a try before a long "
        "run, which then reuses their questions. null: all.",
    )
    max_rejected: RowLimit | None = Field(
        None,
        description="Rejected rows above which a run fails: a share below 1, or a number of rows. "
        "null: no limit. Above 5 %, a run warns.",
    )
    max_cut: RowLimit | None = Field(
        None,
        description="The same for rows that max_seq_len or max_title_len cut.",
    )

    @property
    def file(self) -> Path | tuple[Path, ...] | None:
        """`predict_file`; None for the named data set."""
        if isinstance(self.predict_file, list):
            return tuple(map(Path, self.predict_file))
        return None if self.predict_file is None else Path(self.predict_file)

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str | None) -> str | None:
        try:
            "a".encode(value or UTF_8)
        except (LookupError, ValueError):  # unknown, or not of texts; not a name at all
            raise ValueError("allowed here: an encoding of Python, such as gb18030") from None
        return value

    @field_validator("delimiter")
    @classmethod
    def _delimiter_is_one_character(cls, value: str | None) -> str | None:
        char = {"tab": "\t", "\\t": "\t"}.get(value or "", value)
        if char is not None and (len(char) != 1 or char in '"\r\n'):
            raise ValueError("allowed here: tab, or one character that is no quote or line end")
        return char

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


class AggregateSettings(Section):
    """Which results a run writes."""

    output_path: PathText | None = Field(
        None,
        description="File for a copy of the questions, one per line. null: only in the run's "
        "folder.",
    )
    allow_partial: bool = Field(
        False,
        description="Continue without shards that fail; every output is marked as partial.",
    )
    only_new: bool = Field(
        False,
        description="Also write predictions_new.parquet and predictions_new.jsonl: the rows that "
        "are not, with the same id and texts, in the newest earlier result of this config.",
    )

    @property
    def output(self) -> Path | None:
        """`output_path`; None without a copy."""
        return None if self.output_path is None else Path(self.output_path)

    @property
    def output_files(self) -> tuple[Path, ...]:
        """The files that may be written for `output_path`: texts, and marks of partial ones."""
        if self.output is None:
            return ()
        texts = (self.output, Path(f"{self.output}{REFERENCES_SUFFIX}"))
        return (*texts, *(Path(f"{text}{PARTIAL_SUFFIX}") for text in texts))


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
    aggregate: AggregateSettings = AggregateSettings()
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
        "store.url",
        "export.inference_model_dir",
        "export.decoding_lib",
        "aggregate.output_path",
    }
)
"""Keys by which a run runs code, names places to write to, or links to pages from Prefect's UI."""
