"""The model families that can be exported: each has an entry here and a module beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tasks.engine.models.config import ModelConfig
from tasks.engine.models.family import ModelFamily
from tasks.engine.tokenization.vocabulary import VOCAB_FILE


@dataclass(frozen=True)
class FamilyEntry:
    """What is known about a family without importing Paddle.

    Attributes:
        name: the name in messages.
        architectures: PaddleNLP's classes that a config may name, the usual one first.
        tokenizer_file: the file that a checkpoint needs in addition to config and weights.
        tokenizer_source: the file of PaddleNLP that lists the family's models by name.
        load: imports Paddle and returns the family.
    """

    name: str
    architectures: tuple[str, ...]
    tokenizer_file: str
    tokenizer_source: str
    load: Callable[[], ModelFamily]


def _load_unimo() -> ModelFamily:
    from tasks.engine.models.unimo import Unimo

    return Unimo()


UNIMO_CLASSES = ("UNIMOLMHeadModel", "UNIMOForMaskedLM", "UNIMOForConditionalGeneration")
UNIMO_SOURCE = "transformers/unimo/tokenizer.py"
FAMILIES = (FamilyEntry("UNIMO", UNIMO_CLASSES, VOCAB_FILE, UNIMO_SOURCE, _load_unimo),)


def find_family(config: ModelConfig) -> FamilyEntry | None:
    """Return the family of a checkpoint, by its config; None if it is not supported."""
    return next((one for one in FAMILIES if config.architecture in one.architectures), None)


def family_names() -> str:
    """Return the names of all families, for messages."""
    return " or ".join(one.name for one in FAMILIES)
