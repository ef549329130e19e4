"""Models by name: which ones there are, and downloading one with PaddleNLP's own cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.engine.model_files import ModelFiles
from tasks.engine.models.checkpoint import load_weights
from tasks.engine.models.family import ModelFamily
from tasks.engine.models.registry import find_named, unknown_name
from tasks.engine.paddle.runtime import import_paddle, import_paddlenlp
from tasks.errors import DownloadError, ModelError
from tasks.store.local import file_sha256

if TYPE_CHECKING:
    import requests

BUSY = {408, 429}
"""Besides 5xx, the answers of a server after which another attempt may succeed."""


def download_model(name: str, folder: Path) -> None:
    """Download the named model and tokenizer with PaddleNLP, and save both into `folder`.

    Raises:
        DownloadError: the network or the server failed; another attempt may succeed.
        ModelError: PaddleNLP has no such model, cannot download it, or it is damaged.
    """
    entry = find_named(name)
    if entry is None:
        raise ModelError(str(unknown_name(name)))
    family = entry.load()
    try:
        tokenizer = family.tokenizer_class.from_pretrained(name)
        weights = _download_weights(family, name)
    except Exception as error:  # PaddleNLP's many sources can raise anything
        passing = find_network_error(error)
        kind, cause = (DownloadError, passing) if passing else (ModelError, error)
        raise kind(
            f"model.model_name_or_path: PaddleNLP cannot download {name!r} "
            f"({type(cause).__name__}: {cause}); check the network, or give the folder of a "
            "checkpoint"
        ) from error
    tokenizer.save_pretrained(str(folder))
    _save_model(family, name, weights, folder)


def _download_weights(family: ModelFamily, name: str) -> Path:
    """Return PaddleNLP's copy of the weights, downloaded unless its cache has it."""
    download = import_paddlenlp("utils.download").utils.download
    url = family.model_class.pretrained_resource_files_map["model_state"][name]
    return Path(download.resolve_file_path(name, [url]))


def _save_model(family: ModelFamily, name: str, weights: Path, folder: Path) -> None:
    """Save a model as `from_pretrained(name).save_pretrained(folder)`, but unpickle nothing."""
    import_paddle().set_device("cpu")
    model = family.make_model(family.model_class.pretrained_init_configuration[name], None)
    files = ModelFiles(weights.parent, {weights.name: file_sha256(weights)})
    remedy = f"delete {weights}, so that it is downloaded again"
    try:
        faults = load_weights(family, model, files)
    except ModelError as error:
        raise ModelError(f"{error}; {remedy}") from error
    if faults:
        raise ModelError(f"{weights} has not the weights of {name}: {'; '.join(faults)}; {remedy}")
    model.save_pretrained(str(folder))


def find_network_error(error: BaseException | None) -> Exception | None:
    """Return the error behind an error after which another attempt may succeed; None without one.

    PaddleNLP replaces the errors of `requests` by others with general texts.
    """
    import requests
    from requests.exceptions import ChunkedEncodingError

    passing = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError)
    while isinstance(error, Exception):
        if isinstance(error, passing) or _is_busy(getattr(error, "response", None)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_busy(response: requests.Response | None) -> bool:
    status = 0 if response is None else response.status_code
    return status >= 500 or status in BUSY
