"""Engines and precisions on a device, and the overrides that select them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.engine.export.equivalence import LEAST_SHARE

ENGINES = ("native", "faster_transformer")
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Variant:
    """One engine with one precision on some devices.

    Attributes:
        engine: `export.engine`.
        precision: `fp32` or `fp16`.
        devices: `predict.devices`.
        decoding_lib: `export.decoding_lib`, for FasterTransformer only.
    """

    engine: str
    precision: str
    devices: tuple[str, ...]
    decoding_lib: Path | None = None

    @property
    def name(self) -> str:
        """Name on the page."""
        return f"{self.engine} {self.precision}"

    @property
    def slug(self) -> str:
        """Name in file names."""
        return f"{self.engine}-{self.precision}"

    @property
    def is_gated(self) -> bool:
        """Whether the export must reproduce the fp32 export's questions (on GPUs only)."""
        on_gpu = self.devices[0].startswith("gpu")
        return on_gpu and (self.engine, self.precision) == ("native", "fp16")

    @property
    def least_same(self) -> float | None:
        """Minimum share of questions equal to the CPU's; None if the search itself differs."""
        return LEAST_SHARE if self.engine == "native" else None

    @property
    def overrides(self) -> tuple[str, ...]:
        """Overrides of the config in the form of `--set`."""
        library = self.decoding_lib if self.engine == "faster_transformer" else None
        return (
            f"export.engine={self.engine}",
            f"export.use_fp16_decoding={'true' if self.precision == 'fp16' else 'false'}",
            f"predict.devices=[{','.join(self.devices)}]",
            *([] if library is None else [f"export.decoding_lib={library.absolute()}"]),
        )


def reference_variant() -> Variant:
    """Return the variant that the others are compared with: native on the CPU in fp32."""
    return Variant("native", "fp32", ("cpu",))
