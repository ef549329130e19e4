"""Getting a model by name, through PaddleNLP's own download and cache."""

from __future__ import annotations

from pathlib import Path

from tasks.engine.runtime import import_paddlenlp
from tasks.errors import ModelError


def download_model(name: str, folder: Path) -> None:
    """Have PaddleNLP fetch the model and tokenizer called `name` and save both into `folder`.

    Raises:
        ModelError: PaddleNLP cannot get or load a UNIMO model of this name.
    """
    paddlenlp = import_paddlenlp()
    transformers = paddlenlp.transformers
    try:
        for kind in (transformers.UNIMOTokenizer, transformers.UNIMOLMHeadModel):
            kind.from_pretrained(name).save_pretrained(str(folder))
    except Exception as error:  # PaddleNLP raises what its many sources raise
        raise ModelError(
            f"model.model_name_or_path: PaddleNLP cannot get a UNIMO model called {name!r} "
            f"({type(error).__name__}: {error}); check the name and the network, "
            "or give the folder of a checkpoint"
        ) from error
