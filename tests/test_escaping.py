from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.escaping import in_markdown, shorten, shorten_list

TEXTS = st.text(st.sampled_from("a中 *_`[]()<>|\\!#&~:/.@$\n\t-+1") | st.characters(), max_size=30)


@given(TEXTS, st.integers(1, 40))
def test_a_shortened_text_is_one_line_no_longer_than_asked(text: str, longest: int) -> None:
    line = shorten(text, longest)
    assert len(line) <= longest
    assert len(line.splitlines()) <= 1
    assert line.removesuffix("…") in " ".join(text.split())


@given(st.lists(st.sampled_from(["a", "b.jsonl", "长江"]), max_size=9), st.integers(1, 5))
def test_a_long_list_has_its_first_texts_and_the_number_of_others(
    texts: list[str], most: int
) -> None:
    first, _, others = shorten_list(texts, most).partition(" and ")
    shown = first.split(", ") if first else []
    assert shown == texts[:most]
    assert len(shown) + int((others or "0 more").removesuffix(" more")) == len(texts)


@given(TEXTS)
def test_markdown_shows_any_text_in_a_table_as_it_is(text: str) -> None:
    table = f"| head |\n| --- |\n| x{in_markdown(text)}x |"
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(table)
    cells = [token for token in tokens if token.type == "inline"][1:]
    assert len(cells) == 1
    kinds = {child.type for child in cells[0].children or []}
    assert kinds <= {"text", "text_special"}


def test_addresses_in_a_text_are_no_links() -> None:
    assert in_markdown("www.x.test a@x.test https://x.test") == (
        r"www\.x.test a\@x.test https\://x.test"
    )
    assert "<img" not in MarkdownIt().render(in_markdown('<img src="http://x.test"> ![a](b)'))
