"""The sections `shards` and `predict`: how questions are generated, and on which devices."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator

from tasks.config.sections.section import Section

DeviceKind = Literal["gpu", "cpu"]
DeviceName = Annotated[str, StringConstraints(pattern=r"^((gpu|cpu)(:\d+)?|all)$")]
ALL = ("all",)


def _allow_all(schema: dict[str, Any]) -> None:
    """Add the word `all` to the values in the JSON schema of `devices`."""
    schema["anyOf"].insert(1, {"type": "string", "const": "all"})


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

    executor: Literal["local", "ray"] = Field(
        "local",
        description="local: workers on this machine. ray: on the nodes of a Ray cluster, which see "
        "the same store; of devices only the kind counts.",
    )
    device: DeviceKind = Field("gpu", description="Kind of device; used if devices is null.")
    devices: tuple[DeviceName, ...] | None = Field(
        None,
        strict=False,  # YAML has lists, not tuples
        min_length=1,
        description="One worker per device, such as [gpu:0, gpu:1]; all of one kind. "
        "all: every GPU.",
        json_schema_extra=_allow_all,
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
    price_per_device_hour: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Price of an hour of a device, in any currency; a run then says what its "
        "shards have cost. What is reused costs nothing. null: no cost.",
    )

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

    def at_place(self) -> Self:
        """Return the settings at a place of a cluster, which sees no GPU but its own."""
        device = "gpu:0" if self.device_kind == "gpu" else "cpu"
        return self.model_copy(update={"devices": (device,)})

    @property
    def device_kind(self) -> str:
        """`gpu` or `cpu`."""
        kind = (self.devices or (self.device,))[0].partition(":")[0]
        return "gpu" if kind == "all" else kind
