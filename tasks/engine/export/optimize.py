"""From a plain native export to an optimized one: half precision, TensorRT, or both."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.engine.contract import read_contract, write_contract
from tasks.engine.export.tensorrt import SHAPES_FILE, ShapeRange, prepare_for_tensorrt
from tasks.engine.program.half_precision import halve


def optimize_export(plain: Path, folder: Path, is_half: bool, shapes: ShapeRange | None) -> None:
    """Write an optimized version of the export in `plain` into `folder`.

    Args:
        plain: folder of a native export in float32.
        folder: an existing, empty folder.
        is_half: convert the layers to half precision.
        shapes: prepare the graph for TensorRT with these shapes; None: without TensorRT.

    Raises:
        ExportError: the graph cannot be converted to half precision.
    """
    for path in plain.iterdir():
        shutil.copyfile(path, folder / path.name)
    changes: dict[str, str] = {}
    contract = read_contract(plain)
    if is_half:
        halve(folder / contract.model_file, folder / contract.params_file)
        changes["precision"] = "fp16"
    if shapes is not None:
        changes["shapes_file"] = SHAPES_FILE
    contract = contract.model_copy(update=changes)
    write_contract(contract, folder)
    if shapes is not None:
        prepare_for_tensorrt(folder, contract, shapes)
