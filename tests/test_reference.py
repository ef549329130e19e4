from __future__ import annotations

from tasks.reference import as_markdown
from tests.conftest import ROOT


def test_the_configuration_page_is_that_of_the_models() -> None:
    page = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    assert page == as_markdown(), "renew it: python -m tasks.reference > docs/configuration.md"
