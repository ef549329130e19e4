import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From bottom to top; a room imports only rooms of lower floors.
FLOORS = (
    {"tasks.findings", "tasks.escaping"},
    {"tasks.errors"},
    {"tasks.addresses", "tasks.environment", "tasks.system_errors"},
    {"tasks.config", "tasks.store", "tasks.processes", "tasks.outages", "tasks.retry"},
    {"tasks.engine", "tasks.passages", "tasks.output", "tasks.cluster", "tasks.parallel"},
    {"tasks.plan", "tasks.bench"},
    {"tasks.columns"},
    {"tasks.load", "tasks.runs", "tasks.quality", "tasks.doctor"},
    {"tasks.evaluation"},
    {"tasks.export", "tasks.predict", "tasks.report", "tasks.conversion"},
    {"tasks.aggregate", "tasks.operations", "tasks.preview", "tasks.scaffold"},
    {"flows", "tasks.acceptance"},
)
EXPORTS = ROOT / "flows/api/wenti"  # the one package whose purpose is to export
STAGES = {"export", "load", "predict", "aggregate"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for top in ("flows", "tasks", "tests")
    for path in sorted(ROOT.glob(f"{top}/**/*.py"))
}
CODE = {name: path for name, path in MODULES.items() if not name.startswith("tests")}


@cache  # and not when the tests are collected, in each of their processes
def find_imports(path: Path) -> tuple[str, ...]:
    """Return every name that a file imports, at any level."""
    return tuple(_find_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _find_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def imports_of(module: str) -> set[str]:
    """Return the modules of this project that a module imports."""
    return modules_of(find_imports(MODULES[module])) - {module}


def modules_of(names: Iterable[str]) -> set[str]:
    """Return the modules of this project among imported names."""
    parents = ((name, name.rpartition(".")[0]) for name in names)
    return {one for pair in parents for one in pair if one in MODULES}


def room_of(module: str) -> str:
    return ".".join(module.split(".")[: 1 if module.startswith("flows") else 2])


FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def test_every_room_has_a_floor() -> None:
    assert {room_of(name) for name in CODE} - {"tasks"} == set(FLOOR_OF)


def test_a_room_imports_only_rooms_of_lower_floors() -> None:
    arrows = [
        (name, other)
        for name in CODE
        for other in imports_of(name)
        if room_of(name) != room_of(other) and "tasks" not in (name, other)
    ]
    assert arrows
    upward = [
        f"{name} imports {other}"
        for name, other in arrows
        if FLOOR_OF[room_of(other)] >= FLOOR_OF[room_of(name)]
    ]
    assert not upward


@pytest.mark.parametrize("depth", [3, 9], ids=["the rooms of the engine", "modules"])
def test_nothing_imports_itself_by_way_of_others(depth: int) -> None:
    def shorten(name: str) -> str:
        return ".".join(name.split(".")[:depth])

    graph: dict[str, set[str]] = {}
    for name in CODE:
        others = {shorten(other) for other in imports_of(name) if other in CODE}
        graph.setdefault(shorten(name), set()).update(others - {shorten(name)})
    TopologicalSorter(graph).prepare()  # raises a CycleError that contains the cycle


def importers_of(*packages: str) -> set[str]:
    roots = {name: {one.partition(".")[0] for one in find_imports(CODE[name])} for name in CODE}
    return {name for name, found in roots.items() if found & set(packages)}


def test_prefect_is_imported_in_the_flows_and_the_stages_tasks_only() -> None:
    tasks = {f"tasks.{stage}.task" for stage in STAGES}
    inside = {name for name in importers_of("prefect") if not name.startswith("flows")}
    assert inside == tasks | {"tasks.predict.device_slots"}


def test_paddle_is_imported_in_one_module_only() -> None:
    assert importers_of("paddle", "paddlenlp") == {"tasks.engine.paddle.runtime"}


def test_ray_is_imported_in_one_module_only() -> None:
    assert importers_of("ray") == {"tasks.cluster.runtime"}


def test_every_folder_with_a_task_is_a_stage() -> None:
    assert {path.parent.name for path in ROOT.glob("tasks/**/task.py")} == STAGES


@pytest.mark.parametrize("path", sorted(ROOT.glob("[ft]*s/**/__init__.py")), ids=str)
def test_a_room_says_what_it_is_for_and_exports_nothing(path: Path) -> None:
    if path.parent == EXPORTS:
        return
    if path.is_relative_to(ROOT / "tests"):
        assert not path.read_text(encoding="utf-8")
        return
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


def is_test(module: str) -> bool:
    return ".test_" in module or module == "tests.conftest"


def test_no_test_imports_another_test() -> None:
    wrong = {
        name: others
        for name in MODULES
        if name.startswith("tests")
        and (others := {one for one in imports_of(name) if is_test(one)})
    }
    assert not wrong


def test_rooms_and_modules_stay_small() -> None:
    modules = [name for name, path in CODE.items() if path.stem != "__init__"]
    rooms = Counter(name.rpartition(".")[0] for name in modules)
    assert {room: count for room, count in rooms.items() if count > 9} == {}
    lines = {name: len(CODE[name].read_text(encoding="utf-8").splitlines()) for name in modules}
    assert {name: count for name, count in lines.items() if count > 300} == {}
