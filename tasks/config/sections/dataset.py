"""The section `dataset` of the config: which passages are read, and how."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tasks.addresses import place_at
from tasks.config.sections.section import ColumnNames, PlacesText, RowLimit, Section, Text

UTF_8 = "utf-8"


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
    predict_file: PlacesText = Field(
        None,
        description="File of passages: JSON lines, a JSON array, nested JSON such as SQuAD's, or "
        "CSV, optionally compressed with gzip or Zstandard; Parquet, Arrow, Excel's .xlsx. Or a "
        "folder, whose files with the suffixes of these formats are read in the order of their "
        "paths; or a pattern, such as data/*.jsonl; or a list of these. Each may be in an object "
        "store (s3://bucket/key or az://container/key). null: use dataset_name.",
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
    def file(self) -> PurePath | tuple[PurePath, ...] | None:
        """`predict_file`; None for the named data set."""
        if isinstance(self.predict_file, list):
            return tuple(map(place_at, self.predict_file))
        return None if self.predict_file is None else place_at(self.predict_file)

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
