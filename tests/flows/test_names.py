from __future__ import annotations

import pytest
from prefect.utilities.names import generate_slug

from flows.names import is_generated


def test_the_names_that_the_server_makes_up_are_recognized() -> None:
    assert all(is_generated(generate_slug(2)) for _ in range(200))


@pytest.mark.parametrize("name", ["Rustic-Pizza", "Handcrafted-Pho", "Awesome-Börek"])
def test_the_names_that_the_form_makes_up_are_recognized(name: str) -> None:
    assert is_generated(name)


@pytest.mark.parametrize(
    "name",
    [
        "nightly-fix",
        "夜间-重跑",
        "again",
        "Rustic-Pizza for Li",
        "Awesome-",
        "after the new dictionary",
        "question-generation/demo/2026-11-23/3f9a",
    ],
)
def test_other_names_were_typed_and_are_kept(name: str) -> None:
    assert not is_generated(name)
