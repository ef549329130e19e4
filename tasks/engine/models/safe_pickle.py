"""Untrusted checkpoints: PaddleNLP loads `.pdparams` with pickle, which can run any code.

So they are first read by an unpickler that allows only arrays. A file that it cannot read is not
passed to PaddleNLP unless the config trusts the checkpoint.
"""

from __future__ import annotations

import pickle
from pathlib import Path

from tasks.errors import ModelError

ARRAYS_ONLY = {
    ("builtins", "tuple"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
}
"""Everything that a file of weights written by `paddle.save` consists of."""


class _ForbiddenError(Exception):
    """The pickle contains something that is not an array."""


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in ARRAYS_ONLY:
            raise _ForbiddenError(f"{module}.{name}")
        return super().find_class(module, name)


def check_weights(folder: Path) -> None:
    """Read every `.pdparams` file of a checkpoint without running any code in it.

    Raises:
        ModelError: a file contains more than arrays, or is not a pickle.
    """
    for path in sorted(folder.glob("*.pdparams")):
        try:
            with path.open("rb") as file:
                _ArrayUnpickler(file, encoding="latin1").load()
        except _ForbiddenError as error:
            raise ModelError(
                f"{path} contains more than weights: loading it would call {error}, which can run "
                "any code; if you trust whoever made it, set `model.trust_checkpoint: true`"
            ) from error
        except Exception as error:  # pickle can raise almost anything on a damaged file
            raise ModelError(
                f"{path} cannot be read ({type(error).__name__}: {error}); "
                "copy it again from the original checkpoint"
            ) from error
