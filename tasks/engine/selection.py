"""The choice of the engine that exports a model, and the version of each engine."""

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
    """Return the name of the engine that exports, and resolve `auto`.

    `auto` selects faster_transformer on a GPU if a library of its operators is given, and neither
    settings nor model rule it out; otherwise native. Problems of the library itself do not rule it
    out: they are reported as faults.
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
