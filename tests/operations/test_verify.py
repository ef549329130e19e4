from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tasks.load.row_keys import KEYS_FILE
from tasks.operations.verify import restore_results, verify_run
from tasks.runs.find import find_run
from tasks.runs.results import QUALITY_FILE
from tasks.store.layout import Store
from tests.support.commands import RunFlow, wenti


def states(store: Path) -> dict[str, str]:
    checked = verify_run(find_run("latest", Store(store)))
    return {part.part: part.state for part in checked}


def test_a_whole_run_is_ok_in_every_part(demo_store: Path) -> None:
    found = states(demo_store)
    assert list(found)[:4] == ["export", "dataset", "columns", "shard 0"]
    assert set(found.values()) == {"ok"}
    done = wenti("verify", "latest", "--store", str(demo_store))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_damaged_part_is_named_and_no_other(store: Path) -> None:
    victims = {
        "export": next(store.glob("exports/*/unimo_text.pdiparams")),
        "dataset": next(store.glob("datasets/*/part-*.parquet")),
        "columns": next(store.glob("columns/*/manifest.json")),
        "shard 1": next(store.glob("predictions/*/shard-00001-*.parquet")),
        "results": next(store.glob("runs/2*/predictions.txt")),
    }
    for part, victim in victims.items():
        content = victim.read_bytes()
        victim.write_bytes(content[:-2])  # JSON may lack its last line end
        found = states(store)
        victim.write_bytes(content)
        wrong = {name for name, state in found.items() if state != "ok"}
        assert wrong == {part}
    assert set(states(store).values()) == {"ok"}


@pytest.mark.parametrize("nonsense", [b"", b"{", b"[]", b'{"files": [1]}', b"\xff"])
def test_a_list_of_results_that_cannot_be_read_is_damage_and_never_a_crash(
    store: Path, nonsense: bytes
) -> None:
    run = find_run("latest", Store(store)).resolve()
    before = {path: path.read_bytes() for path in run.iterdir() if path.name != "_SUCCESS"}
    (run / "_SUCCESS").write_bytes(nonsense)
    assert {name for name, state in states(store).items() if state != "ok"} == {"results"}
    restore_results(run, run)
    assert {path: path.read_bytes() for path in before} == before


def test_five_hundred_flipped_bits_are_all_found(store: Path) -> None:
    seed = 20261123
    rng = random.Random(seed)  # noqa: S311 which bits is all that is drawn
    run = find_run("latest", Store(store))
    files = [path for path in store.rglob("*") if path.is_file() and path.suffix == ".parquet"]
    files = [path for path in files if run in path.parents or "runs" not in path.parts]
    # What is beside dataset and shards is verified, and made again, when it is used.
    beside = {KEYS_FILE, QUALITY_FILE}
    files = [path for path in files if path.name not in beside or run in path.parents]
    for _ in range(500):
        victim = rng.choice(files)
        bit = rng.randrange(8 * victim.stat().st_size)
        with victim.open("r+b") as file:
            file.seek(bit // 8)
            byte = file.read(1)[0]
            file.seek(bit // 8)
            file.write(bytes([byte ^ 1 << bit % 8]))
            file.flush()
            found = {state for state in states(store).values() if state != "ok"}
            file.seek(bit // 8)
            file.write(bytes([byte]))
        assert found == {"damaged"}, f"seed {seed}: bit {bit} of {victim}"


def test_what_is_missing_is_told_with_the_command_that_makes_it(
    store: Path, run_demo: RunFlow
) -> None:
    next(store.glob("predictions/*/shard-00002-*.json")).unlink()
    done = wenti("verify", "latest", "--store", str(store), "--json")
    assert done.returncode == 3
    missing = [part for part in json.loads(done.stdout) if part["state"] == "missing"]
    assert [part["part"] for part in missing] == ["shard 2"]
    assert "wenti rerun" in done.stderr
    run_demo(store)
    assert set(states(store).values()) == {"ok"}


def test_a_runs_own_config_repeats_the_run(store: Path) -> None:
    config = find_run("latest", Store(store)) / "config.yaml"
    done = wenti("status", str(config), "--set", f"store.path={store}", "--json")
    assert done.returncode == 0, done.stderr
    stages = json.loads(done.stdout)["stages"]
    assert [stage["state"] for stage in stages][:2] == ["made", "made"]
