"""Which engine exports a model: what `export.engine: auto` means, and each engine's version."""

from __future__ import annotations

from pathlib import Path

from tasks.config.settings import Settings
from tasks.engine.contract import FASTER_TRANSFORMER_VERSION, NATIVE_VERSION
from tasks.engine.fake import FAKE_VERSION
from tasks.engine.faster_transformer.compatibility import (
    FASTER_TRANSFORMER,
    model_faults,
    option_faults,
)


def choose_engine(settings: Settings, model_folder: Path | None = None) -> str:
    """Return the name of the engine that exports; `auto` becomes one.

    It becomes faster_transformer where its operators need not be built first, on a GPU, if nothing
    in the settings and the model speaks against it. What is wrong with the library itself is no
    reason to do without it, but a fault.
    """
    export = settings.export
    if export.engine != "auto":
        return export.engine
    if export.decoding_lib is None or settings.predict.device_kind != "gpu":
        return "native"
    faults = [*option_faults(settings), *model_faults(model_folder)]
    return "native" if faults else FASTER_TRANSFORMER


ENGINE_VERSIONS = {
    "native": NATIVE_VERSION,
    FASTER_TRANSFORMER: FASTER_TRANSFORMER_VERSION,
    "fake": FAKE_VERSION,
}
