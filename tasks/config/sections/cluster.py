"""The section `cluster`: on which nodes of a Ray cluster shards are made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tasks.config.sections.section import Section, Text

OWN_KEYS = {"GPU": "gpus_per_place"}
"""Resources that have a key of their own."""


class ClusterSettings(Section):
    """The Ray cluster whose nodes make the shards, with predict.executor: ray."""

    address: Text = Field(
        "auto",
        description="HOST:PORT of the cluster's head. auto: RAY_ADDRESS, or else the cluster that "
        "this machine belongs to.",
    )
    places: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        "all",
        description="How many shards are made at once. all: as many as the nodes have room for, "
        "which are counted again and again. A number is asked of the cluster, whose autoscaler may "
        "add nodes.",
    )
    gpus_per_place: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of a GPU that a place takes (GPU only); 0.5: two places on each GPU.",
    )
    resources: dict[Text, float] = Field(
        {},
        description="What else a place takes of its node, by Ray's names, such as {CPU: 4}. By "
        "default, on a GPU one CPU; on CPUs cpu_threads of them, or all of the largest node.",
    )
    accelerator: Text | None = Field(
        None, description="Only GPUs of this kind, by Ray's name, such as A100. null: any."
    )
    wait_for_nodes_seconds: float = Field(
        600.0, gt=0, description="Seconds without any place after which a run gives up."
    )
    speculate: bool = Field(
        True,
        description="When places are idle, try the last shards a second time if they take far "
        "longer than others.",
    )

    @field_validator("resources")
    @classmethod
    def _resources_are_amounts(cls, value: dict[str, float]) -> dict[str, float]:
        for name, amount in value.items():
            if name in OWN_KEYS:
                raise ValueError(f"{name} has a key of its own: {OWN_KEYS[name]}")
            if amount <= 0:
                raise ValueError("allowed here: amounts above 0")
        return value
