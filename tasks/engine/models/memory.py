"""Estimates of the memory that a model and a batch take, from their sizes; nothing is loaded.

Letters: B rows, L tokens of the longest row, K beams, T = `max_dec_len`, S = K (T - 1) slots for
generated tokens, N layers, E hidden size, I size between the two feed-forward layers, H heads,
V tokens of the vocabulary. All numbers are float32, four bytes each.

- Weights: N (4 E² + 2 E I + 9 E + I) + (V + positions + types) E + 2 E + E² + 3 E + V numbers.
- Keys and values, kept for the whole batch: 2 N B (L + S) E numbers.
- In addition the larger of a layer of the encoder, B L (16 E + 2 I) + 4 B H L² numbers, and a step
  of the search, 4 B K V + 3 B H K (L + S) numbers.

The shapes are those of `tasks.engine.generation.decode_graph`; the numbers of simultaneous tensors
(16, 2, 4, 3) were fitted to the processes measured in docs/benchmarks.md.
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
    """Estimated bytes that a worker takes on its device.

    Attributes:
        beside: bytes without a model.
        weights: bytes of the model.
        batch: bytes of the largest batch of the config.
        row: bytes of a batch with only the longest row.
    """

    beside: int
    weights: int
    batch: int
    row: int

    @property
    def most(self) -> int:
        """The need with the largest batch."""
        return self.beside + self.weights + self.batch

    @property
    def least(self) -> int:
        """The need with batches of one row, which a worker tries last if memory is short."""
        return self.beside + self.weights + self.row


def read_size(folder: Path) -> ModelSize | None:
    """Return the size of the model in a folder; None if its config is incomplete."""
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
    """Return an estimate of the memory that one worker of a config takes."""
    predict, longest = settings.predict, settings.dataset.max_seq_len
    shapes = largest_batches(predict.batch_size, longest, predict.max_tokens_per_batch)
    return Need(
        beside=BESIDE_GPU if predict.device_kind == "gpu" else BESIDE_CPU,
        weights=NUMBER * size.parameters,
        batch=max(batch_bytes(size, settings.decode, *shape) for shape in shapes),
        row=batch_bytes(size, settings.decode, 1, longest),
    )


def batch_bytes(size: ModelSize, decode: DecodeSettings, rows: int, length: int) -> int:
    """Return an estimate of the bytes that a batch takes in addition to the weights."""
    beams = count_beams(decode)
    width = length + beams * max(1, decode.max_dec_len - 1)
    kept = 2 * size.layers * rows * width * size.hidden
    encoding = rows * length * (16 * size.hidden + 2 * size.intermediate)
    encoding += 4 * rows * size.heads * length * length
    step = 4 * rows * beams * size.vocabulary + 3 * rows * size.heads * beams * width
    return NUMBER * (kept + max(encoding, step))


def count_beams(decode: DecodeSettings) -> int:
    """Return the number of sequences of a row that are searched at the same time."""
    if decode.has_beams:
        return decode.num_beams
    return decode.num_return_sequences if decode.is_sampling else 1
