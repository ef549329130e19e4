"""Finding CUDA's libraries, with libraries of the same names that the tests compile.

`tests/engine/gpu/test_wheel.py` tests whether Paddle finds NVIDIA's own.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.engine.paddle.cuda_libraries import LIBRARIES
from tasks.engine.paddle.library_alias import load_alias
from tests.support.rehearsal import ROOT

LOAD = """
import ctypes
from tasks.engine.paddle.cuda_libraries import find_missing, load_cuda_libraries
print(*(library.name for library in find_missing()), sep=",")
problems = load_cuda_libraries()
print(len(problems), *problems)
for name in {names!r}:
    try:
        print(name, ctypes.CDLL(name).answer())
    except OSError:
        print(name, "not found")
"""


def has_cuda() -> bool:
    try:
        ctypes.CDLL("libcufft.so.10")
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(has_cuda(), reason="this machine has CUDA libraries of its own")


def install(site: Path, package: str, version: str, libraries: list[str]) -> None:
    """Install a package with shared libraries in a folder, as pip does."""
    info, folder = f"{package.replace('-', '_')}-{version}.dist-info", "nvidia/of_a_test/lib"
    (site / info).mkdir(parents=True)
    (site / folder).mkdir(parents=True, exist_ok=True)
    for name in libraries:
        number = next(at for at, one in enumerate(LIBRARIES) if one.name == name)
        source = f"int answer(void) {{ return {number}; }}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-x", "c", "-", "-o"]
        subprocess.run([*command, site / folder / name], input=source, text=True, check=True)
    (site / info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    )
    record = [f"{folder}/{name},," for name in libraries] + [f"{info}/METADATA,,"]
    (site / info / "RECORD").write_text("\n".join(record))


def load_in_a_new_process(site: Path) -> list[str]:
    names = [name for one in LIBRARIES for name in (one.name, one.paddles_name) if name]
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    path = os.pathsep.join((str(site), str(ROOT)))
    done = subprocess.run(
        [sys.executable, "-S", "-c", LOAD.format(names=names)],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: one named as Paddle for GPUs, and those of all libraries it opens."""
    site = tmp_path_factory.mktemp("site")
    install(site, "paddlepaddle-gpu", "2.6.2", [])
    for package in dict.fromkeys(one.package for one in LIBRARIES):
        install(site, package, "1.0", [one.name for one in LIBRARIES if one.package == package])
    return site


def without(site: Path, package: str, folder: Path) -> Path:
    """Return a folder with the same packages except one."""
    for entry in site.iterdir():
        if package not in entry.name:
            (folder / entry.name).symlink_to(entry)
    return folder


def test_each_library_answers_to_its_own_name_and_to_paddles(site: Path) -> None:
    missing, problems, *answers = load_in_a_new_process(site)
    assert (missing, problems) == ("", "0")
    expected = []
    for number, library in enumerate(LIBRARIES):
        expected.append(f"{library.name} {number}")
        if library.paddles_name is not None:
            expected.append(f"{library.paddles_name} {number}")
    assert answers == expected


def test_what_is_missing_is_named_with_its_package(site: Path, tmp_path: Path) -> None:
    part = without(site, "cufft", tmp_path)
    missing, problems, *answers = load_in_a_new_process(part)
    assert missing == "libcufft.so.10"
    assert problems.startswith("1 libcufft.so.10 of nvidia-cufft-cu11")
    assert "libcufft.so not found" in answers
    assert sum(answer.endswith("not found") for answer in answers) == 2


def test_nothing_is_loaded_for_a_paddle_that_is_for_the_cpu(site: Path, tmp_path: Path) -> None:
    part = without(site, "paddlepaddle", tmp_path)
    install(part, "paddlepaddle", "2.6.2", [])
    _missing, problems, *answers = load_in_a_new_process(part)
    assert problems == "0"
    assert all(answer.endswith("not found") for answer in answers)


def test_an_alias_of_nothing_is_refused() -> None:
    with pytest.raises(OSError, match=r"libwenti-nowhere\.so\.7"):
        load_alias("libwenti-alias.so", "libwenti-nowhere.so.7")
