"""What is tried: engines and precisions on a device, and how each is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.engine.export.equivalence import LEAST_SHARE

ENGINES = ("native", "faster_transformer")
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Variant:
    """One way to generate.

    Attributes:
        engine: `export.engine`.
        precision: `fp32` or `fp16`.
        devices: `predict.devices`.
        decoding_lib: `export.decoding_lib` of FasterTransformer.
    """

    engine: str
    precision: str
    devices: tuple[str, ...]
    decoding_lib: Path | None = None

    @property
    def name(self) -> str:
        """What it is called on the page."""
        return f"{self.engine} {self.precision}"

    @property
    def slug(self) -> str:
        """Its name in file names."""
        return f"{self.engine}-{self.precision}"

    @property
    def is_gated(self) -> bool:
        """Whether its export must first reproduce the plain one's questions (on GPUs only)."""
        on_gpu = self.devices[0].startswith("gpu")
        return on_gpu and (self.engine, self.precision) == ("native", "fp16")

    @property
    def least_same(self) -> float | None:
        """The share of questions that must be the CPU's; None where the search itself differs."""
        return LEAST_SHARE if self.engine == "native" else None

    @property
    def overrides(self) -> tuple[str, ...]:
        """What wins over a config, as `--set` takes it."""
        library = self.decoding_lib if self.engine == "faster_transformer" else None
        return (
            f"export.engine={self.engine}",
            f"export.use_fp16_decoding={'true' if self.precision == 'fp16' else 'false'}",
            f"predict.devices=[{','.join(self.devices)}]",
            *([] if library is None else [f"export.decoding_lib={library.absolute()}"]),
        )


def reference_variant() -> Variant:
    """Give what the others are compared with: the native engine on the CPU, in fp32."""
    return Variant("native", "fp32", ("cpu",))
