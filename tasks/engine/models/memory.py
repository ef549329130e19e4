"""How much memory a model and a batch take, estimated from their sizes; nothing is loaded.

Letters: B rows, L tokens of the longest, K beams, T = `max_dec_len`, S = K (T - 1) slots for
generated tokens, N layers, E hidden size, I size between the feed-forward's two layers, H heads,
V tokens of the vocabulary. All numbers are float32, four bytes each.

- Weights: N (4 E² + 2 E I + 9 E + I) + (V + positions + types) E + 2 E + E² + 3 E + V numbers.
- Keys and values, kept while a batch lasts: 2 N B (L + S) E numbers.
- Beside them the more of the encoder's layer, B L (16 E + 2 I) + 4 B H L² numbers, and of a step
  of the search, 4 B K V + 3 B H K (L + S) numbers.

The shapes are those of `tasks.engine.generation.decode_graph`; the numbers of tensors that are
alive at once (16, 2, 4, 3) were fitted to the processes measured in docs/benchmarks.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.config.settings import DecodeSettings, Settings
from tasks.engine.batch import largest_batches
from tasks.engine.models.config import ModelSize, read_config

NUMBER = 4
"""Bytes of a float32."""

BESIDE_CPU = 500_000_000
"""Bytes of a process that has imported Paddle."""

BESIDE_GPU = 1_200_000_000
"""Bytes on a GPU without a model: Paddle's kernels for one architecture (570 MB, read from its
libraries), CUDA's context, workspaces of cuBLAS and cuDNN; not measured yet."""


@dataclass(frozen=True)
class Need:
    """Bytes that a worker takes on its device, as far as they can be estimated.

    Attributes:
        beside: without a model.
        weights: the model.
        batch: the largest batch of the config.
        row: the longest row alone.
    """

    beside: int
    weights: int
    batch: int
    row: int

    @property
    def most(self) -> int:
        """With the largest batch."""
        return self.beside + self.weights + self.batch

    @property
    def least(self) -> int:
        """With batches of one row, which is what a worker tries last when memory is short."""
        return self.beside + self.weights + self.row


def read_size(folder: Path) -> ModelSize | None:
    """Return the size of the model in a folder; None if its config does not tell."""
    config = read_config(folder)
    found = (
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        config.vocab_size,
        config.max_position_embeddings,
        config.type_vocab_size,
    )
    known = [one for one in found if one is not None]
    return ModelSize(*known) if len(known) == len(found) else None


def estimate_need(size: ModelSize, settings: Settings) -> Need:
    """Estimate what one worker of a config takes."""
    predict, longest = settings.predict, settings.dataset.max_seq_len
    shapes = largest_batches(predict.batch_size, longest, predict.max_tokens_per_batch)
    return Need(
        beside=BESIDE_GPU if predict.device_kind == "gpu" else BESIDE_CPU,
        weights=NUMBER * size.parameters,
        batch=max(batch_bytes(size, settings.decode, *shape) for shape in shapes),
        row=batch_bytes(size, settings.decode, 1, longest),
    )


def batch_bytes(size: ModelSize, decode: DecodeSettings, rows: int, length: int) -> int:
    """Estimate what a batch takes beside the weights, in bytes."""
    beams = count_beams(decode)
    width = length + beams * max(1, decode.max_dec_len - 1)
    kept = 2 * size.layers * rows * width * size.hidden
    encoding = rows * length * (16 * size.hidden + 2 * size.intermediate)
    encoding += 4 * rows * size.heads * length * length
    step = 4 * rows * beams * size.vocabulary + 3 * rows * size.heads * beams * width
    return NUMBER * (kept + max(encoding, step))


def count_beams(decode: DecodeSettings) -> int:
    """Return how many sequences of a row are searched at once."""
    if decode.has_beams:
        return decode.num_beams
    return decode.num_return_sequences if decode.is_sampling else 1
