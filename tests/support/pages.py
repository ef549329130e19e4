"""The pages of the documentation, parsed: links, headings and what is named in code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.rehearsal import ROOT

PARSER = MarkdownIt("commonmark").enable("table")
AT_A_PROMPT = "$ "
PROGRAM = re.compile(r"(?:^|\.venv/bin/|^[A-Z_]+=\S* )wenti(?: (.*))?$")
MAKE = re.compile(r"^make(?: (.*))?$")


@dataclass(frozen=True)
class Code:
    """A command line, another line of a code block, or a code span."""

    text: str
    is_command: bool = False


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def tokens(self) -> list[Token]:
        """All tokens, those of a line beside the line."""
        tokens = PARSER.parse(self.path.read_text(encoding="utf-8"))
        return [one for token in tokens for one in (token, *(token.children or ()))]

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """The language and the text of each code block."""
        return [(one.info, one.content) for one in self.tokens if one.type == "fence"]

    @cached_property
    def code(self) -> list[Code]:
        """The lines of all code blocks, and all code spans."""
        spans = [Code(one.content) for one in self.tokens if one.type == "code_inline"]
        return [line for _, text in self.blocks for line in _lines(text)] + spans

    @cached_property
    def links(self) -> list[str]:
        """The targets of all links and pictures."""
        targets = [one.attrGet("href") or one.attrGet("src") for one in self.tokens]
        return [str(target) for target in targets if target]

    @cached_property
    def headings(self) -> list[tuple[str, str]]:
        """The tag and the text of each heading."""
        pairs = zip(self.tokens, self.tokens[1:], strict=False)
        return [(one.tag, text.content) for one, text in pairs if one.type == "heading_open"]

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of the headings, as GitHub makes them."""
        return {
            re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in self.headings
        }

    def commands_of(self, program: re.Pattern[str]) -> Iterator[tuple[Code, str]]:
        """Yield the code that calls a program, and what follows the program's name."""
        for code in self.code:
            for part in re.split(r" && |; ", code.text):
                if found := program.search(part):
                    yield code, found[1] or ""


def _lines(block: str) -> Iterator[Code]:
    for line in block.replace("\\\n", " ").splitlines():
        yield Code(line.removeprefix(AT_A_PROMPT), line.startswith(AT_A_PROMPT))


PAGES = [Page(path) for path in (*ROOT.glob("*.md"), *sorted(ROOT.glob("docs/**/*.md")))]
TRANSLATED = {
    Page(path): Page(path.parent.parent / path.name)
    for path in sorted(ROOT.glob("docs/zh/*.md"))
    if (path.parent.parent / path.name).exists()
} | {Page(ROOT / "README.zh-CN.md"): Page(ROOT / "README.md")}
