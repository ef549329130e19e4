"""Downloading a model by name, from a real HTTP server on this machine that may fail first."""

from __future__ import annotations

import gc
import pickle
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tasks.engine.models.download import download_model
from tasks.engine.models.registry import FAMILIES, QUESTION_MODELS, find_named, untrained_name
from tasks.engine.paddle.runtime import import_paddle, import_paddlenlp
from tasks.errors import DownloadError, ModelError
from tests.support.engine_reference import Recipe, make_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
NAME = QUESTION_MODELS[0]
RECIPE = Recipe(5, vocab_size=60, hidden_size=16)


@dataclass
class Site:
    """The files of a web server, and the answers that it gives before a file."""

    files: dict[str, bytes]
    failures: list[int | str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        name, site = self.path.rpartition("/")[2], self.site
        site.requests.append(name)
        content = site.files.get(name)
        failure = site.failures.pop(0) if content is not None and site.failures else None
        if content is None or isinstance(failure, int):
            self.send_error(failure if isinstance(failure, int) else 404)
            return
        if failure == "closed":
            self.connection.close()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:100] if failure == "cut" else content)

    do_HEAD = do_GET  # noqa: N815 likewise

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("published"), RECIPE)


@pytest.fixture
def site(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with the model `NAME`, to which PaddleNLP's tables and its empty cache point."""
    transformers = import_paddlenlp().transformers
    bos = import_module("paddlenlp.utils.download.bos_download")
    files = {
        "weights.pdparams": (published / "model_state.pdparams").read_bytes(),
        "vocab.txt": (published / "vocab.txt").read_bytes(),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.site = found = Site(files)
    url = f"http://127.0.0.1:{server.server_port}"
    model, tokenizer = transformers.UNIMOLMHeadModel, transformers.UNIMOTokenizer
    config = transformers.UNIMOConfig.from_pretrained(str(published)).to_dict()
    for table, value in (
        (model.pretrained_resource_files_map["model_state"], f"{url}/weights.pdparams"),
        (tokenizer.pretrained_resource_files_map["vocab_file"], f"{url}/vocab.txt"),
        (model.pretrained_init_configuration, config),
        (transformers.UNIMOConfig.pretrained_init_configuration, config),
    ):
        monkeypatch.setitem(table, NAME, value)
    monkeypatch.setattr(bos, "MODEL_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bos, "BOS_URL_TEMPLATE_WITHOUT_REVISION", f"{url}/{{filename}}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()
    import_module("paddlenlp.utils.download.common").reset_sessions()
    with warnings.catch_warnings():  # of connections that PaddleNLP leaves open
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_downloaded_model_is_what_paddlenlp_would_save(site: Site, tmp_path: Path) -> None:
    paddle, transformers = import_paddle(), import_paddlenlp().transformers
    with paddle.utils.unique_name.guard():  # names of parameters are in the file
        download_model(NAME, tmp_path / "ours")
    asked = len(site.requests)
    with paddle.utils.unique_name.guard():
        for kind in (transformers.UNIMOTokenizer, transformers.UNIMOLMHeadModel):
            kind.from_pretrained(NAME).save_pretrained(str(tmp_path / "theirs"))
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    assert site.requests[:asked] == ["vocab.txt", "weights.pdparams"]


@pytest.mark.parametrize("failure", [503, 429, "closed", "cut"])
def test_an_error_that_may_pass_is_told_as_such_and_the_next_attempt_succeeds(
    site: Site, tmp_path: Path, failure: int | str
) -> None:
    site.failures = [failure]
    with pytest.raises(DownloadError, match=rf"cannot download '{NAME}'.*check the network"):
        download_model(NAME, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    download_model(NAME, tmp_path / "model")
    assert (tmp_path / "model/model_state.pdparams").is_file()


def test_a_file_that_is_not_there_is_asked_for_once(site: Site, tmp_path: Path) -> None:
    del site.files["weights.pdparams"]
    with pytest.raises(ModelError, match=rf"cannot download '{NAME}'"):
        download_model(NAME, tmp_path / "model")
    assert site.requests.count("weights.pdparams") == 1


class Harm:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.victim), "w")


@pytest.mark.parametrize("kind", ["harm", "damage", "another model"])
def test_a_download_that_is_not_the_model_is_refused_and_runs_nothing(
    site: Site, tmp_path: Path, kind: str
) -> None:
    harmful = pickle.dumps({"w": Harm(tmp_path / "victim")})
    other = pickle.dumps({"unimo.encoder_norm.weight": np.ones(3, np.float32)})
    contents = {"harm": harmful, "damage": b"<html>", "another model": other}
    site.files["weights.pdparams"] = contents[kind]
    with pytest.raises(ModelError, match=r"delete .*model_state.pdparams, so that it is downl"):
        download_model(NAME, tmp_path / "model")
    assert not (tmp_path / "victim").exists()


def test_the_known_names_are_those_that_paddlenlp_can_download() -> None:
    for entry in FAMILIES:
        family = entry.load()
        tables = (
            family.tokenizer_class.pretrained_resource_files_map["vocab_file"],
            family.tokenizer_class.pretrained_init_configuration,
            family.model_class.pretrained_resource_files_map["model_state"],
            family.model_class.pretrained_init_configuration,
        )
        known = {*entry.question_models, *entry.other_models}
        assert known == set.intersection(*map(set, tables))


def test_a_name_that_paddlenlp_does_not_have_is_refused_without_a_download(
    tmp_path: Path,
) -> None:
    for name in ("somebody/model", "unimo-text-1.0-question-generation-full_domain"):
        assert find_named(name) is None
        with pytest.raises(ModelError, match=rf"PaddleNLP has no model of the name {name};"):
            download_model(name, tmp_path)


def test_only_models_that_were_not_trained_for_questions_are_warned_of() -> None:
    warned = [one for entry in FAMILIES for one in entry.other_models]
    assert all(untrained_name(name) is None for name in (*QUESTION_MODELS, "path/to/model"))
    for name in warned:
        finding = untrained_name(name)
        assert finding is not None
        assert finding.severity == "warning"
        assert QUESTION_MODELS[0] in finding.remedy
