"""Which files a folder, a pattern or a list names, and how several files are read as one input."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tasks.config.settings import FieldSettings
from tasks.errors import InputError
from tasks.findings import Finding
from tasks.passages.files import find_files, hash_passages, would_find
from tasks.passages.finding.file import Given
from tasks.passages.input import Input
from tasks.passages.inspection import find_layout
from tasks.passages.reader import read_passages
from tasks.passages.records import Passage, Reject
from tests.support.passage_texts import ROW, jsonl, read


def put(folder: Path, *names: str, text: str | None = None) -> list[Path]:
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or jsonl({**ROW, "id": str(number)}), encoding="utf-8")
    return paths


def names(given: Given) -> list[str | None]:
    found = find_files(given)
    assert not isinstance(found, Finding), found
    return [file.name for file in found]


def fault(given: Given) -> str:
    found = Input.find(given)
    assert isinstance(found, Finding)
    assert found.key == "dataset.predict_file"
    return str(found)


def test_a_folder_has_the_files_of_a_known_suffix_sorted_by_their_path(tmp_path: Path) -> None:
    put(tmp_path, "b.jsonl", "a/2.JSONL", "a/10.jsonl", "a-b.jsonl", "c.csv", "d.parquet")
    put(tmp_path, "_SUCCESS", ".a.jsonl.crc", "_temporary/0.jsonl", ".x/a.jsonl", "README", "a.sh")
    expected = ["a-b.jsonl", "a/10.jsonl", "a/2.JSONL", "b.jsonl", "c.csv", "d.parquet"]
    assert names(tmp_path) == expected


def test_a_pattern_has_what_it_matches_whatever_its_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "x/part-1", "x/part-0", "x/_part-2", "x/other", "y/part-0", "y/z/part-9")
    assert names(tmp_path / "x/part-*") == ["part-0", "part-1"]
    assert names(tmp_path / "[xy]/part-*") == ["x/part-0", "x/part-1", "y/part-0"]
    assert names(tmp_path / "**/part-*") == ["x/part-0", "x/part-1", "y/part-0", "y/z/part-9"]
    monkeypatch.chdir(tmp_path / "x")
    assert names(Path("part-?")) == ["part-0", "part-1"]


def test_a_pattern_leaves_out_hidden_folders_that_it_does_not_name(tmp_path: Path) -> None:
    put(tmp_path, "x/a.jsonl", "_temporary/a.jsonl", "_temporary/0/a.jsonl", "x/_t/a.jsonl")
    for pattern in ("*/*.jsonl", "**/*.jsonl", "*"):
        assert names(tmp_path / pattern) == ["x/a.jsonl"]
    assert names(tmp_path / "_temporary/*.jsonl") == ["a.jsonl"]
    assert names(tmp_path / "_t*/*.jsonl") == ["_temporary/a.jsonl"]


def test_a_pattern_of_folders_has_their_files(tmp_path: Path) -> None:
    put(tmp_path, "dt=1/a.jsonl", "dt=2/a.jsonl", "dt=2/x.sh", "other/a.jsonl")
    assert names(tmp_path / "dt=*") == ["dt=1/a.jsonl", "dt=2/a.jsonl"]


def test_a_list_keeps_its_order_and_may_have_folders_and_patterns(tmp_path: Path) -> None:
    b, a = put(tmp_path, "b.jsonl", "a.jsonl")
    put(tmp_path, "f/2.jsonl", "f/1.jsonl", "g/x1", "g/x2")
    assert names((b, a)) == ["b.jsonl", "a.jsonl"]
    given = (b, tmp_path / "f", tmp_path / "g/x*", a)
    assert names(given) == ["b.jsonl", "f/1.jsonl", "f/2.jsonl", "g/x1", "g/x2", "a.jsonl"]
    assert [row.id for row in read_passages((b, a), 1)] == ["0", "1"]


def test_a_file_whose_name_is_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path, _ = put(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert names(path) == [None]
    assert isinstance(hash_passages(path), str)


def test_folders_named_as_by_hive_are_columns_of_their_rows(tmp_path: Path) -> None:
    table = pa.table(
        {
            "passage": ["长江很长。", "黄河很长。", "淮河很长。"],
            "answer": ["长江", "黄河", "淮河"],
            "day": ["2026-11-27", "2026-11-28", "a b/c"],
        }
    )
    partitions = ds.partitioning(pa.schema([("day", pa.string())]), flavor="hive")
    ds.write_dataset(table, tmp_path / "in", format="parquet", partitioning=partitions)
    fields = FieldSettings(context="passage", id="day")
    rows = list(read_passages(tmp_path / "in", 1, None, fields))
    assert [(row.id, row.answer) for row in rows if isinstance(row, Passage)] == [
        ("2026-11-27", "长江"),
        ("2026-11-28", "黄河"),
        ("a b/c", "淮河"),
    ]


def test_a_column_of_the_file_comes_before_that_of_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "id=7/a.jsonl", text=jsonl(ROW, {**ROW, "id": "8"}))
    put(tmp_path, "id=__HIVE_DEFAULT_PARTITION__/a.jsonl", text=jsonl(ROW))
    ids = [row.id for row in read_passages(tmp_path, 1, fields=FieldSettings(id="id"))]
    assert ids[:2] == ["7", "8"]
    assert str(ids[2]).startswith("sha256-")


def test_a_folder_gives_all_its_rows_one_id_only_if_the_config_says_so(tmp_path: Path) -> None:
    put(tmp_path, "id=7/a.jsonl", text=jsonl(ROW, {**ROW, "context": "长江"}))
    one, other = read_passages(tmp_path, 1)
    assert one.id != other.id
    found = Input.find(tmp_path)
    assert isinstance(found, Input)
    assert "columns" not in found.identify()
    assert "id from" not in found.describe()


def test_rows_are_numbered_through_and_lines_by_file(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", text=jsonl(ROW) + "\nbroken\n")
    put(tmp_path, "b.jsonl", text="broken\n" + jsonl(ROW))
    rows = [(one.row, one.file, one.line, type(one)) for one in read_passages(tmp_path, 1)]
    assert rows == [
        (0, "a.jsonl", 1, Passage),
        (1, "a.jsonl", 3, Reject),
        (2, "b.jsonl", 1, Reject),
        (3, "b.jsonl", 2, Passage),
    ]


def test_a_file_named_by_itself_gives_its_rows_no_name(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "dt=1/a.jsonl")
    assert [row.file for row in read(path)] == [None]
    assert find_files(path)[0].columns == {}  # type: ignore[index,union-attr]


def test_files_without_rows_are_passed_over_if_others_have_some(tmp_path: Path) -> None:
    put(tmp_path, "0.jsonl", text="\n")
    (tmp_path / "1.jsonl").touch()
    assert "has no rows" in fault(tmp_path)
    put(tmp_path, "2.jsonl", "3.jsonl")
    (tmp_path / "4.jsonl.gz").write_bytes(gzip.compress(jsonl(ROW).encode()))
    assert [row.file for row in read_passages(tmp_path, 1)] == ["2.jsonl", "3.jsonl", "4.jsonl.gz"]


def test_parts_without_rows_among_parquet_files_are_no_fault(tmp_path: Path) -> None:
    table = pa.table({"context": ["长江很长。"], "answer": ["长江"]})
    pq.write_table(table.slice(0, 0), tmp_path / "part-0.parquet")
    pq.write_table(table, tmp_path / "part-1.parquet")
    assert len(list(read_passages(tmp_path, 1))) == 1


def test_a_folder_without_passages_among_what_a_pattern_matches_does_not_matter(
    tmp_path: Path,
) -> None:
    put(tmp_path, "in/a/a.jsonl", "in/logs/x.log", "in/b.jsonl")
    (tmp_path / "in/new").mkdir()
    assert names(tmp_path / "in/*") == ["a/a.jsonl", "b.jsonl"]
    assert "without a file of passages" in fault(tmp_path / "in/l*")


def test_a_mix_of_shapes_is_told_at_the_first_file_that_differs(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "b.jsonl")
    put(tmp_path, "c.jsonl", text=jsonl({"source": "长江很长。", "title": "长江"}))
    told = fault(tmp_path)
    assert "c.jsonl: context from `source`, answer from `title`; but" in told
    assert "a.jsonl: context from `context`, answer from `answer`" in told
    put(tmp_path, "b.csv", text="context,answer\na,b\n")
    assert "b.csv is .csv, but" in fault((tmp_path / "a.jsonl", tmp_path / "b.csv"))
    put(tmp_path, "d.jsonl", text=jsonl({"text": "长江很长。", "answer": "长江"}))
    told = fault((tmp_path / "a.jsonl", tmp_path / "d.jsonl"))
    assert "d.jsonl has the fields ['text', 'answer']; it needs" in told


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "is a folder without files; name one with passages"),
        (lambda path: put(path, "000000_0"), "without a file of passages, but with '000000_0'; a"),
        (lambda path: put(path, "_SUCCESS"), "is a folder without files"),
    ],
)
def test_a_folder_without_passages_is_a_fault(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / "in")
    assert message in fault(tmp_path / "in")


def test_what_names_no_file_is_a_fault(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "a.jsonl")
    assert "b*.jsonl: no file matches this pattern" in fault(tmp_path / "b*.jsonl")
    assert "none.jsonl: no such file" in fault((path, tmp_path / "none.jsonl"))
    assert "a.jsonl is named more than once" in fault((path, tmp_path / "*.jsonl"))
    with pytest.raises(InputError, match="no file matches"):
        hash_passages(tmp_path / "b*.jsonl")


def test_links_and_pipes_in_a_folder(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "elsewhere/a.jsonl")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "linked").symlink_to(path.parent)
    (path.parent / "back").symlink_to(folder)
    assert names(folder) == ["linked/a.jsonl"]
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    assert "gone.jsonl: no such file" in fault(folder)
    (folder / "gone.jsonl").unlink()
    os.mkfifo(folder / "pipe.jsonl")
    assert "pipe.jsonl: not a regular file" in fault(folder)


@pytest.mark.parametrize("link", ["in/latest", "in/0", "in/2025/next"])
@pytest.mark.parametrize("entry", ["in", "in/*", "in/**/*.jsonl", "in/**/*"])
def test_a_link_beside_what_it_leads_to_is_left_out(tmp_path: Path, link: str, entry: str) -> None:
    expected = ["2025/10/a.jsonl", "2026/11/a.jsonl", "2026/11/b.jsonl", "2026/c.jsonl"]
    put(tmp_path / "in", *expected)
    for target in (tmp_path / "in/2026", tmp_path / "in/2026/11"):
        (tmp_path / link).symlink_to(target)
        (tmp_path / f"{link}.jsonl").symlink_to(tmp_path / "in/2026/c.jsonl")
        assert names(tmp_path / entry) == expected
        (tmp_path / link).unlink()
        (tmp_path / f"{link}.jsonl").unlink()


def test_of_links_to_a_folder_elsewhere_the_first_is_read(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/x/a.jsonl", "in/b.jsonl")
    for name in ("2", "1"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in") == names(tmp_path / "in/*") == ["1/x/a.jsonl", "b.jsonl"]


@pytest.mark.parametrize("name", ["a.jsonl", "*.jsonl", ""])
def test_a_path_that_the_system_refuses_is_a_fault(tmp_path: Path, name: str) -> None:
    (path,) = put(tmp_path, "a.jsonl")
    (tmp_path / "refused").symlink_to("x" * 300)  # the system says so as of a closed folder
    refused = tmp_path / "refused" / name
    assert "cannot be read: File name too long" in fault(refused)
    assert "cannot be read: File name too long" in fault((path, refused))
    assert "cannot be read: File name too long" in str(find_layout(refused))
    assert not would_find(refused, path)


@pytest.mark.parametrize(
    "name", [b"\xff.jsonl", b"\xca\xfd/a.jsonl", b"\xff=1/a.jsonl", b"dt=\xff/a.jsonl"]
)
def test_a_name_that_is_not_utf_8_is_a_fault_that_shows_it(tmp_path: Path, name: bytes) -> None:
    put(tmp_path / "in", os.fsdecode(name), "b.jsonl")
    (broken,) = (path for path in (tmp_path / "in").rglob("*.jsonl") if path.name != "b.jsonl")
    for given in (tmp_path / "in", tmp_path / "in/**/*.jsonl", (broken, tmp_path / "in/b.jsonl")):
        told = fault(given)
        assert "in/" in told.encode().decode()
        assert "its name is not UTF-8; rename it" in told
        assert "udcff" in told or "udcca" in told
    broken.unlink()
    put(tmp_path / "in", os.fsdecode(name + b".other"))
    assert names(tmp_path / "in") == ["b.jsonl"]


def identity(
    given: Given, fields: FieldSettings | None = None, template: int = 1
) -> dict[str, object]:
    found = Input.find(given, template, None, fields)
    assert isinstance(found, Input), found
    return found.identify()


def test_names_and_contents_identify_several_files_and_their_place_does_not(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.jsonl", "dt=1/b.jsonl")
    before = identity(tmp_path / "in")
    shutil.move(tmp_path / "in", tmp_path / "moved")
    assert identity(tmp_path / "moved") == before
    put(tmp_path / "moved", "_SUCCESS", "README")
    assert identity(tmp_path / "moved") == before
    day, named = tmp_path / "moved/dt=1", FieldSettings(id="dt")
    assert identity(day, named)["columns"] == {"b.jsonl": {"dt": "1"}}
    assert "columns" not in identity(day)
    put(tmp_path / "moved", "c.jsonl")
    assert identity(tmp_path / "moved") != before
    (tmp_path / "moved/c.jsonl").unlink()
    (tmp_path / "moved/a.jsonl").rename(tmp_path / "moved/A.jsonl")
    assert identity(tmp_path / "moved") != before


def test_the_order_of_a_list_identifies_its_rows_and_that_of_a_folder_is_that_of_its_names(
    tmp_path: Path,
) -> None:
    b, a = put(tmp_path, "b.jsonl", "a.jsonl")
    put(tmp_path, "a-b/c.jsonl", "a/d.jsonl")
    assert identity((a, b)) != identity((b, a))
    assert identity((b, a))["order"] == ["b.jsonl", "a.jsonl"]
    for sorted_by_name in ((a, b), tmp_path, tmp_path / "**/*.jsonl"):
        assert "order" not in identity(sorted_by_name)


@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("prompt_common", {"prompt_domain": ["河"]}),
        ("target", {"question": " ", "prompt_common": "p", "prompt_domain": []}),
        ("source", {"prompt_common": "p", "prompt_domain": []}),
    ],
)
def test_a_column_of_a_folder_that_decides_a_row_is_part_of_the_identity(
    tmp_path: Path, column: str, row: dict[str, object]
) -> None:
    title_only = {"title": "长江", "prompt_common": "p", "prompt_domain": []}
    rows = jsonl({**ROW, **row}, title_only)
    paths = [tmp_path / f"{column}={value}/in/a.jsonl" for value in ("长江", "黄河")]
    for path in paths:
        put(path.parent, path.name, text=rows)
    read = [list(read_passages(path.parent, 4)) for path in paths]
    identities = [identity(path.parent, template=4) for path in paths]
    assert read[0] != read[1]
    assert identities[0] != identities[1]


PLACES = [
    *("a.jsonl", "a.txt", "_a.jsonl", ".a.jsonl", "state.json", "a.csv.partial"),
    *("f/a.jsonl", "f/a.txt", "_f/a.jsonl", ".f/a.jsonl", "f/_SUCCESS", "dt=1/a.csv"),
    *("f/g/a.jsonl", "f/g/h/a.parquet", "f/.g/a.jsonl", "_dt=1/a.csv", "f/g/state.json"),
]
ENTRIES = ["", "f", "*", "*.jsonl", "?/*", "**/*", "**", "**/a.*", "f/**/*.jsonl", "[fd]*", "f/g*"]
ENTRIES += ["*/a.jsonl", ".*", ".f/*", "_*", "dt=*", "*f/*", "**/g/*", "f/**", "no/*"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_a_file_would_be_found_by_is_what_finds_it(tmp_path: Path, entry: str) -> None:
    real, folder = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    folder.symlink_to("real")
    for name in PLACES:
        (real / (entry if entry == "f" else "")).mkdir(parents=True, exist_ok=True)
        expected = would_find(folder / entry, folder / name)
        (path,) = put(folder, name)
        found = find_files(folder / entry)
        is_found = not isinstance(found, Finding) and path in [one.path for one in found]
        assert (name, expected) == (name, is_found)
        assert would_find((folder / "none.jsonl", folder / entry), real / name) == is_found
        shutil.rmtree(real)
    real.mkdir()
    assert not would_find(folder / entry, tmp_path / "a.jsonl")
    assert not would_find(folder / "a.jsonl", folder / "a.jsonl")


def test_the_identity_is_that_of_the_files_that_were_found(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "b.jsonl")
    found = Input.find(tmp_path)
    assert isinstance(found, Input)
    before = found.identify()
    put(tmp_path, "c.jsonl")
    assert found.identify() == before != identity(tmp_path)
