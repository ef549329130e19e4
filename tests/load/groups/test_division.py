from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.load.dataset import LoadRequest
from tasks.load.groups import division
from tasks.load.groups.division import divide, find_groups
from tests.support.load_groups import divide_by, request_of_folder, write_files

MOST = 1000


@given(st.lists(st.integers(0, 2 * MOST), max_size=60))
def test_groups_are_all_files_in_order_and_end_as_soon_as_they_are_large(sizes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(division, "GROUP_BYTES", MOST)
        groups = divide(sizes)
    assert [at for group in groups for at in group] == list(range(len(sizes)))
    for group in groups:
        *before, _last = (sizes[at] for at in group)
        assert sum(before) < MOST
    for group in groups[:-1]:
        assert sum(sizes[at] for at in group) >= MOST


@given(st.lists(st.integers(0, 2 * MOST)), st.lists(st.integers(0, 2 * MOST), min_size=1))
def test_what_follows_a_group_that_is_full_does_not_change_it(
    sizes: list[int], others: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(division, "GROUP_BYTES", MOST)
        groups, more = divide(sizes), divide([*sizes, *others])
    full = groups[:-1]
    assert more[: len(full)] == full


def test_a_small_input_and_a_single_file_are_one_group(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = request_of_folder(load_request, write_files(tmp_path / "in", ".jsonl"))
    assert find_groups(request) == []
    divide_by(monkeypatch, 100)
    assert len(find_groups(request)) > 1
    (first, *_) = sorted((tmp_path / "in").iterdir())
    assert find_groups(request_of_folder(load_request, first)) == []


def test_files_without_rows_belong_to_a_group_but_are_not_read(
    load_request: LoadRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write_files(tmp_path / "in", ".jsonl")
    (folder / "b2.jsonl").write_text("\n" * 500)
    divide_by(monkeypatch, 400)
    groups = find_groups(request_of_folder(load_request, folder))
    names = [str(file.name) for group in groups for file, _ in group.files]
    assert names == [f"{name}.jsonl" for name in "abcde"]
    assert () in [group.files for group in groups]
