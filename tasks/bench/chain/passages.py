"""The input of a benchmark of the chain: passages and a model folder for the fake engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tasks.bench.options import SPECIAL_TOKENS
from tasks.bench.words import make_words

CHARACTERS = 7000
"""Different characters of the passages, about as many as are common in Chinese."""

ANSWER, QUESTION = 8, 16
ROWS_AT_A_TIME = 4096


def write_model(folder: Path) -> None:
    """Write a model folder of which the fake engine uses only the vocabulary."""
    folder.mkdir()
    words = [*SPECIAL_TOKENS, *make_words(CHARACTERS)]
    lines = (f"{word}\t{number}\n" for number, word in enumerate(words))
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    config = {"architectures": ["UNIMOLMHeadModel"], "vocab_size": len(words)}
    (folder / "model_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model_state.pdparams").touch()


def write_passages(path: Path, rows: int, characters: int, seed: int) -> None:
    """Write JSON lines with a reference question each; equal arguments give equal bytes.

    Args:
        path: the file.
        rows: number of rows, all different.
        characters: of each passage. Some characters are much more frequent than others, as in
            natural text, so that files are compressed about as well.
        seed: of the random numbers.
    """
    with path.open("w", encoding="utf-8") as file:
        for row, text in enumerate(_draw_texts(rows, characters + QUESTION, seed)):
            passage, question = text[:characters], text[characters:]
            middle = characters // 2
            record = {
                "id": f"p{row:08d}",
                "context": passage,
                "answer": passage[middle : middle + ANSWER],
                "question": passage[: QUESTION // 2] + question[QUESTION // 2 :],
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _draw_texts(rows: int, length: int, seed: int) -> Iterator[str]:
    generator = np.random.default_rng(seed)
    words = np.array([ord(word) for word in make_words(CHARACTERS)], "<u4")
    for first in range(0, rows, ROWS_AT_A_TIME):
        shape = min(ROWS_AT_A_TIME, rows - first), length
        places = (CHARACTERS * generator.random(shape, np.float32) ** 3).astype(np.int64)
        yield from (line.tobytes().decode("utf-32-le") for line in words[places])
