"""`contract.json`: the inputs and outputs of an exported model, stored beside it.

Code that runs a model reads them from here and not from the config, so that a model keeps the
meaning that it had when it was exported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.config.settings import DecodeSettings
from tasks.engine.paddle.api import MODEL_SUFFIX, PARAMS_SUFFIX, output_variable
from tasks.errors import StoreCorruptionError

CONTRACT_FILE = "contract.json"
MODEL_NAME = "unimo_text"
"""The name that the example gives every exported model."""

MODEL_FILE = f"{MODEL_NAME}{MODEL_SUFFIX}"
PARAMS_FILE = f"{MODEL_NAME}{PARAMS_SUFFIX}"
NATIVE_VERSION = 3
"""Increment it when the native engine's graph changes, so that old exports are not reused."""

FASTER_TRANSFORMER_VERSION = 1
"""The same for the graph around `FasterUNIMOText`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TensorSpec(_Frozen):
    """One input or output.

    Attributes:
        name: its name in Wenti.
        variable: its name in the graph.
        dtype: NumPy's name of the type.
        shape: sizes; a name for each size that the caller chooses.
    """

    name: str
    variable: str
    dtype: Literal["int32", "float32"]
    shape: tuple[int | str, ...]


INPUTS = (
    TensorSpec(name="input_ids", variable="input_ids", dtype="int32", shape=("batch", "length")),
    TensorSpec(
        name="token_type_ids", variable="token_type_ids", dtype="int32", shape=("batch", "length")
    ),
    TensorSpec(name="seq_len", variable="seq_len", dtype="int32", shape=("batch",)),
)


def input_specs(decode: DecodeSettings) -> tuple[TensorSpec, ...]:
    """Return the inputs: the rows and, for sampling, a number in [0, 1) for each draw."""
    if not decode.is_sampling:
        return INPUTS
    shape = ("batch", decode.num_return_sequences, decode.max_dec_len)
    return (*INPUTS, TensorSpec(name="uniforms", variable="uniforms", dtype="float32", shape=shape))


def output_specs(decode: DecodeSettings) -> tuple[TensorSpec, TensorSpec]:
    """Return the outputs, tokens and scores, with the variable names of a graph saved by Paddle."""
    tokens, scores = output_variable(0), output_variable(1)
    count, steps = decode.num_return_sequences, decode.max_dec_len
    return (
        TensorSpec(name="tokens", variable=tokens, dtype="int32", shape=("batch", count, steps)),
        TensorSpec(name="scores", variable=scores, dtype="float32", shape=("batch", count)),
    )


class SpecialTokens(_Frozen):
    """The ids that a search treats specially."""

    unk: int
    pad: int
    bos: int
    eos: int


class Contract(_Frozen):
    """Everything that the user of an exported model needs to know.

    Attributes:
        format_version: version of this file.
        engine: the engine that made the graph.
        engine_version: version of that engine.
        paddle_version: the version of Paddle that made the model. Paddle 3 also reads what Paddle 2
            has made, but not the other way round.
        model_file: file name of the graph, `MODEL_FILE` in new exports. Its end tells its format:
            `.pdmodel` is a program of Paddle 2, `.json` Paddle 3's representation (PIR).
        params_file: file name of the weights; `PARAMS_FILE` in new exports.
        inputs: int32 rows as tokenized, final start token included, padded on the right; for
            sampling also the `uniforms` that choose the tokens.
        outputs: tokens and, if the engine returns them, scores. Tokens include the eos token if it
            fits into `max_dec_len`, followed by padding.
        decode: the search that is part of the graph.
        special_tokens: the ids that the search treats specially.
        vocab_size: number of tokens; ids are below it.
        type_vocab_size: number of token types; ids are below it.
        max_positions: maximum source tokens of a row, without the final start token.
        num_sequences: number of sequences per row.
        eos_included: whether `tokens` include the eos token that ended a sequence.
        operator_library: file name of a library to load before the model; None if none is needed.
        precision: `fp16` if the layers of a native model are in half precision; None: float32.
        shapes_file: file name of the shapes for TensorRT; None if the model is not for TensorRT.
    """

    format_version: Literal[1] = 1
    engine: Literal["native", "faster_transformer", "fake"]
    engine_version: int
    paddle_version: str
    model_file: str = MODEL_FILE
    params_file: str = PARAMS_FILE
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    decode: DecodeSettings
    special_tokens: SpecialTokens
    vocab_size: int
    type_vocab_size: int
    max_positions: int
    num_sequences: int
    eos_included: bool = True
    operator_library: str | None = None
    precision: Literal["fp16"] | None = None
    shapes_file: str | None = None

    def to_json(self) -> str:
        """Return the content of the file; equal contracts give equal text."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"

    @property
    def has_scores(self) -> bool:
        """Whether the model returns a score for each sequence."""
        return any(spec.name == "scores" for spec in self.outputs)

    @property
    def takes_uniforms(self) -> bool:
        """Whether the model has an input for the random numbers of sampling."""
        return any(spec.name == "uniforms" for spec in self.inputs)

    @property
    def longest_row(self) -> int:
        """Maximum tokens of a row, final start token included."""
        return self.max_positions + 1


def write_contract(contract: Contract, folder: Path) -> None:
    """Write `contract.json` into `folder`."""
    (folder / CONTRACT_FILE).write_text(contract.to_json(), encoding="utf-8")


def read_contract(folder: Path) -> Contract:
    """Read `contract.json` from the folder of an exported model.

    Raises:
        StoreCorruptionError: it is missing, or not a contract that this version understands.
    """
    path = folder / CONTRACT_FILE
    try:
        return Contract.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StoreCorruptionError(
            f"{path} is missing: this is not an exported model; export it again"
        ) from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise StoreCorruptionError(
            f"{path} cannot be used ({where}: {fault['msg']}); export the model again"
        ) from error
