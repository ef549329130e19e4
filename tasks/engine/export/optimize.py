"""From a plain native export to a faster one: half precision, TensorRT, or both."""

from __future__ import annotations

import shutil
from pathlib import Path

from tasks.engine.contract import read_contract, write_contract
from tasks.engine.export.tensorrt import SHAPES_FILE, ShapeRange, prepare_for_tensorrt
from tasks.engine.program.half_precision import halve


def optimize_export(plain: Path, folder: Path, is_half: bool, shapes: ShapeRange | None) -> None:
    """Write into `folder`, which is empty, the export in `plain` with what makes it faster.

    Args:
        plain: folder of a native export in float32.
        folder: gets the files of the other one.
        is_half: put its layers into half precision.
        shapes: suit it to TensorRT for these; None: without TensorRT.

    Raises:
        ExportError: the graph cannot be put into half precision.
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
