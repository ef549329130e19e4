"""An export that is used as it is, because the model of the config has no weights.

In PaddleNLP's example, `inference_model_dir` is a graph to predict with, and `model_name_or_path`
only names its tokenizer. Wenti can do the same with an export that it wrote into
`export.inference_model_dir`: such a folder has the graph, its contract and manifest, and the
tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.config.paths import model_folder
from tasks.config.settings import Settings
from tasks.engine.contract import CONTRACT_FILE, Contract, read_contract
from tasks.engine.model_files import TOKENIZER_FILES, hash_tokenizer
from tasks.engine.models.registry import MODEL_KEY, find_named
from tasks.engine.paddle.generations.generation import find_generation
from tasks.engine.paddle.installation import describe_paddle
from tasks.engine.tokenization.vocabulary import VOCAB_FILE
from tasks.engine.weights.read import find_weights
from tasks.errors import StoreCorruptionError
from tasks.findings import Finding
from tasks.plan.fingerprints import effective_decode, shape_range
from tasks.store.local import file_sha256
from tasks.store.manifest import MANIFEST, Manifest, fingerprint

COPY_KEY = "export.inference_model_dir"
_NEEDED = {"engine", "model", "decode", "use_fp16_decoding"}
AGAIN = "export the model again with a checkpoint that has weights"


def locate_given_export(settings: Settings) -> Path | None:
    """Return the folder of the export that replaces a model without weights; None if none does."""
    folder = settings.export.copy_folder
    if folder is None:
        return None
    try:
        is_export = all((folder / name).is_file() for name in (CONTRACT_FILE, MANIFEST))
        return folder if is_export and not _has_weights(settings) else None
    except PermissionError:  # a fault of its own
        return None


def locate_tokenizer(settings: Settings, given: Path) -> Path:
    """Return the folder with the tokenizer of a given export: its own, or else the model's."""
    model = model_folder(settings.model)
    is_elsewhere = model is not None and (model / VOCAB_FILE).is_file()
    return model if model and is_elsewhere and not (given / VOCAB_FILE).is_file() else given


def read_given_export(folder: Path) -> Manifest:
    """Return the manifest of a given export; its files are not read.

    Raises:
        StoreCorruptionError: it is damaged, or not the manifest of an export.
    """
    path = folder / MANIFEST
    try:
        manifest = Manifest.from_bytes(path.read_bytes())
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise StoreCorruptionError(f"{path} is damaged: {error}") from error
    is_export = manifest.kind == "export" and manifest.decided_by.keys() >= _NEEDED
    are_plain = all(Path(entry.name).name == entry.name for entry in manifest.files)
    if not is_export or not are_plain or fingerprint(manifest.decided_by) != manifest.fingerprint:
        raise StoreCorruptionError(f"{path} is not the manifest of an export of Wenti")
    return manifest


def describe_given_export(settings: Settings, given: Path) -> Finding:
    """Return the warning that a given export is used instead of the model."""
    return Finding(
        MODEL_KEY,
        f"{settings.model.model_name_or_path} has no weights, so the export in {given} is used as "
        "it is",
        "give a folder with weights if the model is to be exported",
        "warning",
    )


def find_given_faults(settings: Settings, given: Path) -> list[Finding]:
    """Return why an export cannot be used with these settings, as far as its files are small."""
    try:
        manifest, contract = read_given_export(given), read_contract(given)
    except (StoreCorruptionError, OSError) as error:
        return [Finding(COPY_KEY, str(error), AGAIN)]
    return [
        *_generation_faults(given, contract),
        *_option_faults(settings, given, manifest.decided_by),
        *_length_faults(settings, contract),
        *_tokenizer_faults(settings, given, manifest.decided_by["model"]),
        *_library_faults(settings, manifest, contract),
    ]


def _generation_faults(given: Path, contract: Contract) -> Iterator[Finding]:
    """Yield why the installed Paddle cannot run an export of another generation.

    Paddle 3 runs graphs of Paddle 2, but not what was built or compared for Paddle 2 only.
    """
    if contract.engine == "fake":
        return
    here, suffix = find_generation(), Path(contract.model_file).suffix
    made = f"the export in {given} was made with Paddle {contract.paddle_version}"
    if suffix not in here.reads:
        problem = f"{made}, whose graphs {describe_paddle()} cannot read"
        yield Finding(COPY_KEY, problem, f"install Paddle 3 (wenti[cpu3], wenti[gpu3]), or {AGAIN}")
        return
    is_special = contract.operator_library or contract.precision or contract.shapes_file
    if suffix != here.model_suffix and is_special:
        problem = f"{made} for that Paddle only: operators, half precision or TensorRT"
        yield Finding(COPY_KEY, problem, f"install Paddle 2 (wenti[gpu]), or {AGAIN}")


def _has_weights(settings: Settings) -> bool:
    model = model_folder(settings.model)
    if model is None:
        return find_named(settings.model.model_name_or_path) is not None
    if not model.is_dir():
        return model.exists()  # a file, which is a fault of its own
    return find_weights(path.name for path in model.iterdir()) is not None


def _option_faults(
    settings: Settings, given: Path, decided_by: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield the options that are part of the graph and that the config wants otherwise."""
    decode, shapes = settings.decode, shape_range(settings)
    wanted = effective_decode(decode).model_dump(mode="json", exclude=decode.unused_options)
    mine = {f"decode.{name}": value for name, value in wanted.items()}
    mine["export.use_fp16_decoding"] = settings.is_half
    mine["predict.use_tensorrt"] = None if shapes is None else asdict(shapes)
    theirs = {f"decode.{name}": value for name, value in decided_by["decode"].items()}
    theirs["export.use_fp16_decoding"] = decided_by["use_fp16_decoding"]
    tensorrt = {**decided_by.get("tensorrt", {})}
    tensorrt.pop("version", None)
    theirs["predict.use_tensorrt"] = tensorrt or None
    if settings.export.engine != "auto":
        mine["export.engine"] = settings.export.engine
        theirs["export.engine"] = decided_by["engine"]
    for key, value in mine.items():
        if value != theirs.get(key):
            problem = f"{value}, but the export in {given} was made with {theirs.get(key)}"
            yield Finding(key, problem, f"set it to that, or {AGAIN}")


def _length_faults(settings: Settings, contract: Contract) -> Iterator[Finding]:
    wanted, longest = settings.dataset.max_seq_len, contract.longest_row
    if wanted > longest:
        problem = f"{wanted} exceeds the model's number of positions"
        yield Finding("dataset.max_seq_len", problem, f"allowed here: at most {longest}")


def _tokenizer_faults(
    settings: Settings, given: Path, model: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield the files of the tokenizer that are not those of the exported model."""
    folder = locate_tokenizer(settings, given)
    found = hash_tokenizer(folder)
    for name in sorted(TOKENIZER_FILES):
        if found.get(name) != model.get(name):
            problem = "is missing" if name not in found else "is not that of the exported model"
            remedy = f"copy the tokenizer's files of the model's checkpoint into {given}"
            yield Finding(COPY_KEY, f"{folder / name} {problem}", remedy)


def _library_faults(
    settings: Settings, manifest: Manifest, contract: Contract
) -> Iterator[Finding]:
    """Yield the fault of a library that the config does not name: loading it runs its code."""
    name, library = contract.operator_library, settings.export.library
    if name is None:
        return
    expected = {entry.name: entry.sha256 for entry in manifest.files}.get(name)
    if library is None or not library.is_file() or file_sha256(library) != expected:
        problem = f"the export has the library {name}, which is not the one named here"
        yield Finding("export.decoding_lib", problem, "set it to that file if you trust it")
