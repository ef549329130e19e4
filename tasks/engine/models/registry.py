"""The model families that can be exported: each has an entry here and a module beside it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks.engine.models.config import ModelConfig
from tasks.engine.models.family import ModelFamily
from tasks.engine.tokenization.vocabulary import VOCAB_FILE
from tasks.findings import Finding

MODEL_KEY = "model.model_name_or_path"


@dataclass(frozen=True)
class FamilyEntry:
    """What is known about a family without importing Paddle.

    Attributes:
        name: the name in messages.
        architectures: PaddleNLP's classes that a config may name, the usual one first.
        tokenizer_file: the file that a checkpoint needs in addition to config and weights.
        load: imports Paddle and returns the family.
        question_models: the models that PaddleNLP can download and that were trained to write
            questions, the usual one first.
        other_models: the other models that it can download.
    """

    name: str
    architectures: tuple[str, ...]
    tokenizer_file: str
    load: Callable[[], ModelFamily]
    question_models: tuple[str, ...]
    other_models: tuple[str, ...]


def _load_unimo() -> ModelFamily:
    from tasks.engine.models.unimo import Unimo

    return Unimo()


UNIMO_CLASSES = ("UNIMOLMHeadModel", "UNIMOForMaskedLM", "UNIMOForConditionalGeneration")
UNIMO = FamilyEntry(
    name="UNIMO",
    architectures=UNIMO_CLASSES,
    tokenizer_file=VOCAB_FILE,
    load=_load_unimo,
    question_models=(
        "unimo-text-1.0-dureader_qg",
        "unimo-text-1.0-question-generation",
        "unimo-text-1.0-question-generation-dureader_qg",
    ),
    other_models=(
        "unimo-text-1.0",
        "unimo-text-1.0-large",
        "unimo-text-1.0-lcsts-new",
        "unimo-text-1.0-summary",
    ),
)
FAMILIES = (UNIMO,)
QUESTION_MODELS = tuple(name for one in FAMILIES for name in one.question_models)


def find_family(config: ModelConfig) -> FamilyEntry | None:
    """Return the family of a checkpoint, by its config; None if it is not supported."""
    return next((one for one in FAMILIES if config.architecture in one.architectures), None)


def find_named(name: str) -> FamilyEntry | None:
    """Return the family of a model that PaddleNLP can download; None if it has no such model."""
    return next(
        (one for one in FAMILIES if name in (*one.question_models, *one.other_models)), None
    )


def unknown_name(name: str) -> Finding:
    """Return the fault of a name that is neither a folder nor a model that can be downloaded."""
    known = [one for entry in FAMILIES for one in (*entry.question_models, *entry.other_models)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    problem = f"there is no folder {Path(name).absolute()}, and PaddleNLP has no model of the name"
    remedy = f"{hint}Give the folder of a checkpoint, or one of {', '.join(known)}"
    return Finding(MODEL_KEY, f"{problem} {name}", remedy)


def untrained_name(name: str) -> Finding | None:
    """Return a warning if a model that can be downloaded was not trained to write questions."""
    entry = find_named(name)
    if entry is None or name in entry.question_models:
        return None
    return Finding(
        MODEL_KEY,
        f"{name} was not trained to write questions, so what it generates will be useless",
        f"set one of {', '.join(entry.question_models)}, or the folder of a model that you trained",
        "warning",
    )


def family_names() -> str:
    """Return the names of all families, for messages."""
    return " or ".join(one.name for one in FAMILIES)
