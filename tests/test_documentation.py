"""What the documentation names exists: commands, options, config keys, make targets, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import typer
import yaml
from typer.main import get_command

from flows.cli.main import app
from tasks.acceptance.__main__ import main as accept
from tasks.config.settings import Settings
from tests.support.pages import MAKE, PAGES, PROGRAM, TRANSLATED, Page
from tests.support.rehearsal import ROOT

WENTI = get_command(app)
SECTIONS = Settings().as_dict()
KEY = re.compile(rf"(?<![\w./-])({'|'.join(SECTIONS)})\.(\w+)(?!\w)")
FORMER = {"trust_checkpoint"}  # keys of older versions, which the changelog and decision 21 name
# `shards.jsonl` is a file, not a key.
SUFFIXES = {"html", "json", "jsonl", "parquet", "py", "safetensors", "yaml"}
FILE = re.compile(r"(?<![\w/.{-])((?:configs|data|docs|flows|tasks|tests)/[\w./-]*\w)(?![\w{*])")
# docs/reliability.md names tests without `tests/`.
TEST = re.compile(r"(?<![\w/])((?:\w+/)*test_\w+\.py)")
NAME = re.compile(r"(?<![\w/.-])[a-z]+(?:_[a-z0-9]+)+(?![\w/.-])")
INIT = re.compile(r"wenti init (\w+)")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
VARIABLES = set(re.findall(r"^([A-Z]+) \?=|\$\(([A-Z]+)\)", (ROOT / "Makefile").read_text()))
SOURCES = (path for top in ("flows", "tasks", "tests", "data") for path in ROOT.glob(f"{top}/**/*"))
every_page = pytest.mark.parametrize("page", PAGES, ids=str)


def options_of(command: Any) -> set[str]:  # noqa: ANN401 Typer's own class
    """Return the options of a command and of all below it."""
    own = {"-h", "--help", *(name for one in command.params for name in one.opts)}
    own |= {name for one in command.params for name in one.secondary_opts}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


def parse(arguments: list[str]) -> None:
    """Parse a command line of wenti as the program does, without running it."""
    command, context = WENTI, WENTI.make_context("wenti", [*arguments])
    while hasattr(command, "commands"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(name, [*arguments], parent=context)


def unknown_words(words: list[str]) -> Iterator[str]:
    """Yield the commands and options in a sketch of a command line that wenti does not have."""
    command = WENTI
    for word in words:
        below = getattr(command, "commands", {})
        if word in below:
            command = below[word]
        elif word.startswith("-"):
            if word.partition("=")[0] not in options_of(command):
                yield word
        elif below:
            yield word


@pytest.fixture(scope="module")
def words() -> set[str]:
    """All words of the sources."""
    files = [path for path in SOURCES if path.suffix in {".py", ".j2", ".yaml", ".cc", ".json"}]
    return {word for path in files for word in re.findall(r"\w+", path.read_text("utf-8"))}


@every_page
def test_commands_and_options_exist(page: Page) -> None:
    for code, rest in page.commands_of(PROGRAM):
        if code.is_command:
            parse(shlex.split(rest, comments=True))
        else:
            words = re.findall(r"[^\s\[\]|…]+", rest)
            assert [*unknown_words(words)] == [], code.text


@every_page
def test_options_named_alone_exist(page: Page) -> None:
    if page.path.name == "from-the-scripts.md":  # names the flags of PaddleNLP's scripts
        return
    known = options_of(WENTI) | options_of(get_command(_app_of(accept)))
    named = [code.text.split()[0] for code in page.code if code.text.startswith("--")]
    assert [name for name in named if name.partition("=")[0] not in known] == []


@every_page
def test_config_keys_exist(page: Page) -> None:
    for code in page.code:
        for section, key in KEY.findall(code.text):
            known = {*SECTIONS[section], *FORMER, *SUFFIXES}
            assert key in known, f"{section}.{key}: {code.text}"


@every_page
def test_configs_in_code_blocks_are_valid(page: Page) -> None:
    for language, text in page.blocks:
        values = yaml.safe_load(text) if language == "yaml" else None
        if isinstance(values, dict) and set(values) <= set(SECTIONS):
            Settings.model_validate(values)


@every_page
def test_make_targets_and_their_variables_exist(page: Page) -> None:
    for code, rest in page.commands_of(MAKE):
        for word in shlex.split(rest, comments=True):
            name, equals, _ = word.partition("=")
            assert name in ({*sum(VARIABLES, ())} if equals else TARGETS), code.text


@every_page
def test_files_exist(page: Page) -> None:
    made = {
        name
        for _, text in page.blocks
        for name in re.findall(r"(?:^# |> )(\S+)", text, re.MULTILINE)
    }
    texts = [text for _, text in page.blocks]
    made |= {f"configs/{name}.yaml" for text in texts for name in INIT.findall(text)}
    for code in page.code:
        for name in FILE.findall(code.text):
            found = (ROOT / name).exists() or (
                TEST.match(name) and (ROOT / "tests" / name).exists()
            )
            assert found or name in made, code.text
        for name in TEST.findall(code.text.removeprefix("tests/")):
            assert (ROOT / "tests" / name).exists(), code.text


@every_page
def test_names_in_code_occur_in_the_sources(page: Page, words: set[str]) -> None:
    if "decisions" in page.path.parts:  # these also say what was rejected
        return
    ours = [code.text for code in page.code if "{{" not in code.text]  # not forms of web services
    assert [name for text in ours for name in NAME.findall(text) if name not in words] == []


@every_page
def test_links_lead_to_pages_and_headings(page: Page) -> None:
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors, link


def test_the_readmes_link_each_other_at_the_top() -> None:
    for name, other in (("README.md", "README.zh-CN.md"), ("README.zh-CN.md", "README.md")):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert f"({other})" in lines[2]


@pytest.mark.parametrize(("chinese", "english"), TRANSLATED.items(), ids=str)
def test_a_chinese_page_has_the_parts_of_the_english_one(chinese: Page, english: Page) -> None:
    """A failure means that a part of one is missing in the other."""
    tags = [[tag for tag, _ in page.headings] for page in (chinese, english)]
    assert tags[0] == tags[1]


@pytest.mark.parametrize("page", [*TRANSLATED, Page(ROOT / "docs/zh/quick-start.md")], ids=str)
def test_there_are_spaces_between_chinese_and_other_words(page: Page) -> None:
    texts = (one.content.replace("**", "") for one in page.tokens if one.type == "inline")
    wrong = re.compile("[一-鿿][A-Za-z0-9`]|[A-Za-z0-9`][一-鿿]")
    assert [text for text in texts if wrong.search(re.sub("`[^`]*`", "`x`", text))] == []


def _app_of(function: Any) -> typer.Typer:  # noqa: ANN401 a command
    app = typer.Typer()
    app.command()(function)
    return app
