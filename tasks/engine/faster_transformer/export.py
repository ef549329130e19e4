"""From a checkpoint to a static graph around PaddleNLP's `FasterUNIMOText`."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tasks.config.settings import DecodeSettings
from tasks.engine.contract import (
    FASTER_TRANSFORMER_VERSION,
    INPUTS,
    Contract,
    output_specs,
    write_contract,
)
from tasks.engine.export.requirements import model_reasons, refuse
from tasks.engine.export.saving import make_contract, save_graph, try_export
from tasks.engine.faster_transformer.compatibility import (
    FASTER_TRANSFORMER,
    build_faults,
    shape_faults,
)
from tasks.engine.faster_transformer.paddlenlp_fixes import transferring_plain_tensors
from tasks.engine.model_files import ModelFiles
from tasks.engine.models.checkpoint import LoadedCheckpoint, load_checkpoint
from tasks.engine.models.config import parse_config
from tasks.engine.paddle.custom_operators import OPERATOR, load_operator
from tasks.engine.paddle.runtime import Untyped, import_paddlenlp
from tasks.engine.tokenization.tokenizer import load_text_tokenizer
from tasks.errors import ExportError, describe_error
from tasks.store.local import file_sha256

LIBRARY_FILE = "libdecoding_op.so"
EXTENSION = "FastGeneration"


@dataclass(frozen=True)
class Operators:
    """The operators of an export.

    Attributes:
        library: a shared library with the operators; None: PaddleNLP builds it.
        is_half: store the weights in half precision.
        device: the device to try the export on.
        sha256: the hash that the library must have; None: any.
    """

    library: Path | None
    is_half: bool
    device: str
    sha256: str | None = None


def export_faster_transformer(
    checkpoint: Path | ModelFiles,
    decode: DecodeSettings,
    folder: Path,
    *,
    operators: Operators,
) -> Contract:
    """Write a model as a graph of `FasterUNIMOText` with its operators, and try the result.

    Args:
        checkpoint: a UNIMO model, a folder or its files as they were hashed.
        decode: the search, which becomes part of the graph.
        folder: an existing, empty folder: it gets the model, its weights, the library of
            operators and `contract.json`.
        operators: the operators, their precision and device.

    Raises:
        ModelError: the model cannot be loaded, or has changed.
        ExportError: FasterTransformer cannot be used here; lists every reason.
    """
    loaded = load_checkpoint(checkpoint)
    shape = shape_faults(parse_config(loaded.model.config.to_dict()))
    reasons = [*model_reasons(loaded, decode), *(fault.problem for fault in shape)]
    refuse("FasterTransformer", reasons)
    library = folder / LIBRARY_FILE
    shutil.copyfile(operators.library or build_library(), library)
    if operators.sha256 not in (None, file_sha256(library)):
        raise ExportError(f"{operators.library} was changed after the run had begun; run again")
    load_operator(library)
    start = load_text_tokenizer(checkpoint).special_ids["cls_token"]
    tokens, _scores = output_specs(decode)
    contract = make_contract(
        loaded,
        decode,
        engine=FASTER_TRANSFORMER,
        engine_version=FASTER_TRANSFORMER_VERSION,
        inputs=INPUTS,
        outputs=(tokens,),
        operator_library=LIBRARY_FILE,
    )
    model_file = folder / contract.model_file
    with transferring_plain_tensors():
        save_graph(
            lambda: _make_graph(loaded, decode, start, library, operators), INPUTS, model_file
        )
    write_contract(contract, folder)
    try_export(folder, contract, operators.device)
    return contract


def _make_graph(
    loaded: LoadedCheckpoint, decode: DecodeSettings, start: int, library: Path, how: Operators
) -> Untyped:
    from tasks.engine.faster_transformer.graph import FasterGraph

    ops = import_paddlenlp("ops.ext_utils").ops
    # Otherwise PaddleNLP would load the library a second time.
    ops.ext_utils.LOADED_EXT.setdefault(EXTENSION, [OPERATOR])
    faster = ops.FasterUNIMOText(
        loaded.model,
        decoding_lib=str(library),
        use_fp16_decoding=how.is_half,
        trans_out=True,
    )
    faster.logits_mask.name = "logits_mask"  # its own name differs from process to process
    return FasterGraph(faster, decode, loaded.special_tokens, start)


def build_library() -> Path:
    """Build PaddleNLP's operators unless they have been built before; return the library.

    This takes minutes and logs to standard output.

    Raises:
        ExportError: a program or library for building is missing, or the build failed.
    """
    refuse("FasterTransformer", build_faults())
    paddlenlp = import_paddlenlp("ops.ext_utils", "utils.env")
    ext_utils, home = paddlenlp.ops.ext_utils, paddlenlp.utils.env.PPNLP_HOME
    # The default folder; passing it explicitly is the only way to know its path.
    sources = str(Path(ext_utils.__file__).parent.resolve())
    digest = hashlib.md5(sources.encode(), usedforsecurity=False).hexdigest()
    folder = Path(home, "extensions", digest)
    try:
        ext_utils.load(EXTENSION, build_dir=str(folder), verbose=True)
    except Exception as error:  # depends on the compilers
        raise ExportError(
            f"PaddleNLP cannot build its operators ({describe_error(error)}); read the compilers' "
            "messages above, give a library in `export.decoding_lib`, or set `export.engine: "
            "native`"
        ) from error
    return folder / EXTENSION / LIBRARY_FILE
