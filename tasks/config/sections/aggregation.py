"""The section `aggregate` of the config: which results a run writes."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from tasks.addresses import place_at
from tasks.config.sections.section import PlaceText, Section, Text

REFERENCES_SUFFIX = ".reference.txt"
"""Of the file with the references, as in PaddleNLP's inference.py."""

MOST_IN_ONE_FILE = 10_000_000
"""Rows, with `aggregate.single_file: auto`."""

PARTIAL_SUFFIX = ".partial"
"""Of the file that marks a text as partial."""


class KeepSettings(Section):
    """What a question must be to be kept; null for what does not matter."""

    finished: bool | None = Field(
        None, description="true: the question ended within max_dec_len tokens."
    )
    empty: bool | None = Field(None, description="false: it has words.")
    unknown: bool | None = Field(None, description="false: the model wrote no token [UNK].")
    duplicate: bool | None = Field(None, description="false: no question that is kept equals it.")
    near_duplicate: bool | None = Field(None, description="false: none is equal or nearly equal.")
    gives_answer_away: bool | None = Field(
        None, description="false: the answer does not stand in it."
    )
    asking: bool | None = Field(
        None, description="true: it has a question mark or a question word."
    )
    repetitive: bool | None = Field(None, description="false: it does not repeat itself.")

    @field_validator("*")
    @classmethod
    def _good_ones_are_kept(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        good = info.field_name in GOOD
        if value is not None and value is not good:
            raise ValueError(f"allowed here: {str(good).lower()}, or null for both kinds")
        return value


GOOD = frozenset({"finished", "asking"})
"""Keys of `KeepSettings` that say what is good; the others name faults."""


class AggregateSettings(Section):
    """Which results a run writes."""

    output_path: PlaceText | None = Field(
        None,
        description="File for a copy of the questions, one per line, or its address "
        "(s3://bucket/key or az://container/key). null: only in the run's folder.",
    )
    output_folder: PlaceText | None = Field(
        None,
        description="Folder for a copy of predictions.parquet as a data set, or its address; a "
        "run replaces that of the run before. null: none.",
    )
    partition_by: tuple[Text, ...] | None = Field(
        None,
        strict=False,  # YAML has lists, not tuples
        min_length=1,
        description="Columns of the passages by whose values output_folder is divided into "
        "folders, such as [dt] for dt=2026-11-28. null: not divided.",
    )
    one_row_per_question: bool = Field(
        False,
        description="Also write questions.parquet, in which each of num_return_sequences questions "
        "is a row; these are then the rows of output_folder.",
    )
    single_file: bool | Literal["auto"] = Field(
        "auto",
        description="true: predictions.parquet, predictions.jsonl and predictions.txt. false: "
        "instead of these, a folder predictions with Parquet files of 262,144 rows. auto: true for "
        "an input of up to 10,000,000 rows, else false.",
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

    keep: KeepSettings | None = Field(
        None,
        description="Which questions are kept: any of {finished: true, empty: false, unknown: "
        "false, duplicate: false, near_duplicate: false, gives_answer_away: false, asking: true, "
        "repetitive: false}. Others become rejects, with the reason quality:… null: all are kept.",
    )

    group_by: tuple[Text, ...] | None = Field(
        None,
        strict=False,
        min_length=1,
        description="Columns of the passages, such as [source, chapter]: rows, rejects, flags and "
        "scores of each group of rows with the same values are in metrics.json, in the report and "
        "in Prefect. null: none.",
    )

    def has_single_file(self, rows: int) -> bool:
        """Return whether the predictions for an input of `rows` rows are one file."""
        return rows <= MOST_IN_ONE_FILE if self.single_file == "auto" else self.single_file

    @property
    def output(self) -> PurePath | None:
        """`output_path`; None without a copy."""
        return None if self.output_path is None else place_at(self.output_path)

    @property
    def data_set(self) -> PurePath | None:
        """`output_folder`; None without one."""
        return None if self.output_folder is None else place_at(self.output_folder)

    @field_validator("partition_by")
    @classmethod
    def _a_folder_is_divided(
        cls, value: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        if value is not None and info.data.get("output_folder") is None:
            raise ValueError("needs aggregate.output_folder; allowed without it: null")
        return value

    @field_validator("partition_by", "group_by")
    @classmethod
    def _a_column_is_named_once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len({*value}) < len(value):
            raise ValueError("allowed here: each column once")
        return value

    @property
    def output_files(self) -> tuple[PurePath, ...]:
        """The files that may be written for `output_path`: texts, and marks of partial ones."""
        if self.output is None:
            return ()
        texts = [f"{self.output}{more}" for more in ("", REFERENCES_SUFFIX)]
        return tuple(map(place_at, [*texts, *(f"{text}{PARTIAL_SUFFIX}" for text in texts)]))
