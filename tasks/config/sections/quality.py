"""The section `quality` of the config: when the questions of a run are suspect."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.config.sections.section import RowLimit, Section


class QualitySettings(Section):
    """When the questions of a run are suspect, and what happens then."""

    max_unfinished: RowLimit | None = Field(
        None,
        description="Questions cut off at decode.max_dec_len above which a run is suspect: a share "
        "below 1, or a number of questions. null: no limit.",
    )
    max_duplicates: RowLimit | None = Field(
        None, description="The same for questions that an earlier row has, too."
    )
    max_rejects: RowLimit | None = Field(
        None,
        description="The same for rejected rows. (dataset.max_rejected ends a run instead, before "
        "anything is predicted.)",
    )
    min_mean_score: float | None = Field(
        None,
        le=0,
        allow_inf_nan=False,
        description="Mean score per token below which a run is suspect. null: no limit.",
    )
    max_drift: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much worse a run may be than the last good run of its config: the share "
        "of each flag and of the rejects, and the mean score per token. A difference that may be "
        "chance never counts. null: not compared.",
    )
    on_breach: Literal["warn", "fail"] = Field(
        "warn",
        description="What a suspect run does. warn: it completes and says so. fail: it fails, and "
        "leaves output_path, output_folder and runs/latest as they are.",
    )
