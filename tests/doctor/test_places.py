from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.config.loading import load_settings
from tasks.doctor.places import COPY, OUTPUT, PADDLENLP_HOME, STORE, find_place_faults
from tasks.output.folder import SETTING as DATA_SET
from tasks.output.folder import replaced_folder
from tasks.output.marks import write_mark
from tasks.store.layout import FOLDERS
from tests.support.commands import wenti
from tests.support.rehearsal import ROOT
from tests.support.shelf import read_tree


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with a config, passages and a model, as small as the checks allow."""
    (tmp_path / "model").mkdir()
    for name in ("config.json", "vocab.txt"):
        shutil.copyfile(ROOT / "data/checkpoint" / name, tmp_path / "model" / name)
    (tmp_path / "passages.jsonl").write_text('{"context": "c", "answer": "a"}\n', encoding="utf-8")
    text = "extends: base.yaml\nexport: {engine: fake}\n"
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "base.yaml").write_text("", encoding="utf-8")
    return tmp_path


def faults_of(job: Path, **places: Path) -> dict[str, str]:
    """The faults of a job that writes to these places, by key."""
    keys = {
        "output": OUTPUT,
        "data": DATA_SET,
        "copy": COPY,
        "store": STORE,
        "lib": "export.decoding_lib",
    }
    keys["passages"] = "dataset.predict_file"
    given = {
        "store.path": job / "store",
        "model.model_name_or_path": job / "model",
        "dataset.predict_file": job / "passages.jsonl",
        **{keys[name]: path for name, path in places.items()},
    }
    overrides = [f"{key}={path}" for key, path in given.items()]
    settings = load_settings(job / "config.yaml", overrides)
    before = read_tree(job)
    faults = find_place_faults(settings, job / "config.yaml")
    assert read_tree(job) == before
    return {fault.key: fault.problem for fault in faults}


def test_places_that_are_free_are_no_fault(job: Path) -> None:
    assert faults_of(job, output=job / "new/q.txt", copy=job / "new/export") == {}


def test_results_of_the_run_before_are_no_fault(job: Path) -> None:
    for name in ("q.txt", "q.txt.partial", "q.txt.reference.txt", "export/contract.json"):
        (job / name).parent.mkdir(exist_ok=True)
        (job / name).write_text("{}", encoding="utf-8")
    assert faults_of(job, output=job / "q.txt", copy=job / "export") == {}


READ = {
    "passages.jsonl": "dataset.predict_file",
    "config.yaml": "the config",
    "base.yaml": "a config that the config extends",
    "model/vocab.txt": "a file of the model",
}


@pytest.mark.parametrize(("name", "what"), READ.items())
def test_an_output_over_what_the_run_reads_is_refused(job: Path, name: str, what: str) -> None:
    faults = faults_of(job, output=job / "model/.." / name)
    assert f"is {what}, which the run reads" in faults[OUTPUT]


def test_no_file_of_several_is_written_over_and_the_store_is_not_among_them(job: Path) -> None:
    overrides = [f"dataset.predict_file={job}", f"store.path={job / 'store'}"]
    overrides += [f"aggregate.output_path={job / 'passages.jsonl'}"]
    settings = load_settings(job / "config.yaml", overrides)
    faults = {fault.key: fault.problem for fault in find_place_faults(settings)}
    assert "is a file of dataset.predict_file, which the run reads" in faults[OUTPUT]
    assert "has the store in it" in faults["dataset.predict_file"]


@pytest.mark.parametrize("passages", ["in", "in/*", "**/*.csv", "in/*.csv*"])
def test_an_output_that_the_next_run_would_read_is_refused(job: Path, passages: str) -> None:
    (job / "in").mkdir()
    (job / "in/a.csv").write_text("context,answer\na,b\n", encoding="utf-8")
    for output in ("in/out-2026-11-28.csv", "in/new/../out.csv"):
        faults = faults_of(job, passages=job / passages, output=job / output)
        assert "so the next run would read it" in faults[OUTPUT]
    assert faults_of(job, passages=job / passages, output=job / "out/out.txt") == {}


def test_an_output_beside_passages_of_other_suffixes_is_no_fault(job: Path) -> None:
    (job / "in").mkdir()
    (job / "in/a.csv").write_text("context,answer\na,b\n", encoding="utf-8")
    for passages in ("in", "in/*.csv", "in/a.csv"):
        assert faults_of(job, passages=job / passages, output=job / "in/questions.txt") == {}


def test_a_copy_of_the_export_among_the_passages_is_refused(job: Path) -> None:
    (job / "in").mkdir()
    (job / "in/a.csv").write_text("context,answer\na,b\n", encoding="utf-8")
    faults = faults_of(job, passages=job / "in", copy=job / "in/export")
    assert "so the next run would read its files" in faults[COPY]


@pytest.mark.parametrize("passages", ["*", "**/*.jsonl", "[ps]*", "*/runs/*/predictions.jsonl"])
@pytest.mark.parametrize("is_there", [False, True])
def test_a_pattern_that_finds_the_store_is_refused(
    job: Path, passages: str, is_there: bool
) -> None:
    if is_there:
        run = job / "store/runs/20261128-000000-abcdef"
        run.mkdir(parents=True)
        (run / "predictions.jsonl").write_text("{}\n", encoding="utf-8")
    problem = faults_of(job, passages=job / passages)["dataset.predict_file"]
    assert ("is inside the store" if is_there else "would find the results") in problem


def test_results_in_the_store_are_passages_if_their_file_is_named(job: Path) -> None:
    (job / "store/runs/a").mkdir(parents=True)
    named = job / "store/runs/a/predictions.jsonl"
    named.write_text('{"context": "c", "answer": "a"}\n', encoding="utf-8")
    assert faults_of(job, passages=named) == {}
    assert faults_of(job, passages=job / "*.jsonl") == {}


@pytest.mark.parametrize("passages", ["a.jsonl", "*", ""])
def test_passages_that_the_system_refuses_hide_no_fault_of_a_place(
    job: Path, passages: str
) -> None:
    (job / "refused").symlink_to("x" * 300)  # the system says so as of a folder that is closed
    faults = faults_of(job, passages=job / "refused" / passages, output=job, copy=job / "model")
    assert "is a folder" in faults[OUTPUT]
    assert "the folder of the model" in faults[COPY]
    assert len(faults) == 2


@pytest.mark.parametrize(("name", "what"), READ.items())
@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("suffix", ["", ".reference.txt", ".partial", ".reference.txt.partial"])
def test_a_link_to_what_the_run_reads_is_refused_as_an_output(
    job: Path, name: str, what: str, link: Callable[[Path, Path], None], suffix: str
) -> None:
    link(job / f"questions{suffix}", job / name)
    faults = faults_of(job, output=job / "questions")
    assert f"is {what}, which the run reads" in faults[OUTPUT]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Path.mkdir, "is a folder"),
        (lambda path: path.symlink_to("elsewhere"), "is a symbolic link"),
    ],
)
def test_an_output_in_the_place_of_something_else_is_refused(
    job: Path, make: Callable[[Path], None], words: str
) -> None:
    make(job / "questions")
    assert words in faults_of(job, output=job / "questions")[OUTPUT]


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_a_folder_without_a_name_of_its_own_is_refused_too(job: Path, name: str) -> None:
    assert "is a folder" in faults_of(job, output=Path(name))[OUTPUT]


def test_a_device_is_not_replaced(job: Path) -> None:
    assert "is not a regular file" in faults_of(job, output=Path("/dev/null"))[OUTPUT]


def test_nothing_is_written_into_the_store_by_another_name(job: Path) -> None:
    (job / "store").mkdir()
    (job / "link").symlink_to("store")
    faults = faults_of(job, output=job / "link/exports/q.txt", copy=job / "link/exports")
    assert all("is inside the store" in faults[key] for key in (OUTPUT, COPY))


def test_a_copy_over_the_model_or_over_files_of_others_is_refused(job: Path) -> None:
    assert "the folder of the model" in faults_of(job, copy=job / "model/../model")[COPY]
    (job / "others").mkdir()
    (job / "others/unimo_text.pdmodel").write_bytes(b"of another program")
    assert "Wenti did not write" in faults_of(job, copy=job / "others")[COPY]
    (job / "others/contract.json").write_bytes(b"{}")
    assert faults_of(job, copy=job / "others") == {}
    (job / "others/operators.so").write_bytes(b"")
    faults = faults_of(job, copy=job / "others", lib=job / "others/operators.so")
    assert "files that the run reads" in faults[COPY]


def test_a_place_below_a_file_or_a_broken_link_is_refused(job: Path) -> None:
    (job / "broken").symlink_to("unmounted")
    faults = faults_of(job, store=job / "broken", output=job / "passages.jsonl/q.txt")
    assert "is a broken link" in faults[STORE]
    assert "is not a folder" in faults[OUTPUT]
    assert "is not a folder" in faults_of(job, copy=job / "broken/export")[COPY]


def test_a_folder_in_the_place_of_a_link_to_a_run_is_refused(job: Path) -> None:
    (job / "store/runs/latest").mkdir(parents=True)
    assert "is not the link" in faults_of(job, store=job / "store")[STORE]
    (job / "store/runs/latest").rmdir()
    (job / "store/runs/latest").symlink_to("a-run-that-is-gone")
    assert faults_of(job, store=job / "store") == {}


def test_a_name_that_is_too_long_with_a_suffix_is_refused(job: Path) -> None:
    for folder in (job, job / "new"):
        assert "name too long" in faults_of(job, output=folder / ("x" * 240))[OUTPUT]


NOBODY_CAN_WRITE = [
    Path("/proc/x"),
    Path("/proc/self/fd/x"),
    Path("/sys/x"),
    Path("/sys/kernel/x/y"),
]


@pytest.mark.parametrize("place", NOBODY_CAN_WRITE)
def test_places_that_not_even_root_can_write_are_refused_at_once(job: Path, place: Path) -> None:
    faults = faults_of(job, store=place / "store", output=place / "q.txt", copy=place)
    assert set(faults) == {STORE, OUTPUT, COPY}
    existing = next(one for one in place.parents if one.exists())
    assert all(f"{existing} cannot be written" in problem for problem in faults.values())


def test_places_on_a_read_only_disk_and_on_a_full_one_are_refused(
    job: Path, small_disk: Path
) -> None:
    places = {"store": small_disk / "s", "output": small_disk / "q.txt", "copy": small_disk / "c"}
    assert faults_of(job, **places) == {}
    subprocess.run(["mount", "-o", "remount,nr_inodes=1", str(small_disk)], check=True)
    assert all("the disk is full" in problem for problem in faults_of(job, **places).values())
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    faults = faults_of(job, **places)
    assert len(faults) == 3
    assert all("the file system is read-only" in problem for problem in faults.values())


def test_a_folder_that_paddlenlp_cannot_make_is_refused(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PADDLENLP_HOME, "/proc/paddlenlp")
    assert faults_of(job) == {}  # the fake engine does not import it
    real = load_settings(job / "config.yaml", ["export.engine=native", f"store.path={job}/store"])
    (fault,) = find_place_faults(real)
    assert fault.key == PADDLENLP_HOME


@pytest.mark.parametrize("name", FOLDERS)
def test_a_file_in_the_place_of_a_folder_of_the_store_is_refused(job: Path, name: str) -> None:
    (job / "store").mkdir()
    (job / "store" / name).write_bytes(b"")
    assert f"{job / 'store' / name} is not a folder" in faults_of(job, store=job / "store")[STORE]


def test_every_place_is_refused_at_once_in_the_first_second_and_nothing_is_touched(
    job: Path,
) -> None:
    places = {
        "store.path": "/proc/store",
        "aggregate.output_path": "passages.jsonl",
        "model.model_name_or_path": ROOT / "data/checkpoint",
        "dataset.predict_file": "passages.jsonl",
        "predict.device": "cpu",
    }
    options = [part for key, place in places.items() for part in ("--set", f"{key}={place}")]
    before = read_tree(job)
    for command in ("run", "doctor"):
        done = wenti(command, "config.yaml", *options, cwd=job)
        told = done.stdout + done.stderr
        assert (done.returncode, "Traceback" in told) == (2, False), told
        assert "aggregate.output_path" in told
        assert "store.path" in told
        assert "Prefect's temporary server" not in told
    assert read_tree(job) == before


BAD_DATA_SETS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "the passages are in it": (lambda job: job, "which the run reads"),
    "the model": (lambda job: job / "model", "a file of the model, which the run reads"),
    "in the store": (lambda job: job / "store/out", "is inside the store"),
    "a file": (lambda job: job / "passages.jsonl", "is not a folder"),
    "a link": (lambda job: linked(job / "link", job / "model"), "is a symbolic link"),
    "another program's": (lambda job: filled(job / "other"), "holds mine.csv"),
    "the results": (lambda job: job / "results", f"is where {OUTPUT} is written to"),
    "the export": (lambda job: job / "export", f"is where {COPY} is written to"),
    "below a file": (lambda job: job / "passages.jsonl/out", "is not a folder"),
}


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def linked(link: Path, target: Path) -> Path:
    link.symlink_to(target)
    return link


def filled(folder: Path) -> Path:
    (made(folder) / "mine.csv").write_text("x")
    return folder


@pytest.mark.parametrize("name", BAD_DATA_SETS)
def test_a_data_set_never_takes_the_place_of_anything_else(job: Path, name: str) -> None:
    place, problem = BAD_DATA_SETS[name]
    places = {"output": job / "results/q.txt", "copy": job / "export"}
    assert problem in faults_of(job, data=place(job), **places)[DATA_SET]


def test_a_data_set_does_not_hold_the_store(job: Path) -> None:
    places = {"data": made(job / "out"), "store": job / "out/store"}
    assert "contains the store" in faults_of(job, **places)[DATA_SET]


def test_a_data_set_cannot_be_a_mount_point(job: Path) -> None:
    assert "/proc is a mount point" in faults_of(job, data=Path("/proc"))[DATA_SET]
    (job / "link").symlink_to("/proc")
    found = faults_of(job, data=job / "link/self/..")
    assert "is a mount point" in found[DATA_SET]


def test_a_data_set_takes_a_new_or_empty_folder_or_that_of_the_run_before(job: Path) -> None:
    assert faults_of(job, data=job / "new/out") == {}
    assert faults_of(job, data=made(job / "empty")) == {}
    with replaced_folder(job / "before") as folder:
        (folder / "part-00000.parquet").write_bytes(b"")
        write_mark(folder, is_partial=False, content={})
    assert faults_of(job, data=job / "before") == {}
    (job / "before/part-00001.parquet").write_bytes(b"")
    assert "holds part-00001.parquet" in faults_of(job, data=job / "before")[DATA_SET]


@pytest.mark.parametrize("passages", ["days", "days/*/*.parquet"])
def test_a_data_set_that_the_next_run_would_read_is_refused(job: Path, passages: str) -> None:
    shutil.copy(job / "passages.jsonl", made(job / "days"))
    assert "would read it" in faults_of(job, data=job / "days/out", passages=job / passages).get(
        DATA_SET, ""
    )


@pytest.mark.parametrize("key", ["aggregate.partition_by", "aggregate.group_by"])
def test_rows_are_divided_by_columns_that_are_kept(job: Path, key: str) -> None:
    overrides = ("dataset.keep_columns=none", f"aggregate.output_folder={job / 'out'}")
    passages = f"dataset.predict_file={job / 'passages.jsonl'}"
    settings = load_settings(job / "config.yaml", [*overrides, passages, f"{key}=[dt]"])
    (fault,) = find_place_faults(settings)
    assert (fault.key, "are not kept" in fault.problem) == (key, True)
