from __future__ import annotations

from tasks.config.reference import as_markdown
from tests.support.rehearsal import ROOT


def test_the_configuration_page_is_that_of_the_models() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "renew it: make reference"
