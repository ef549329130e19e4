import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# From the ground up; a room imports rooms of lower floors only.
FLOORS = (
    {"tasks.errors", "tasks.escaping"},
    {"tasks.findings", "tasks.config", "tasks.store", "tasks.processes"},
    {"tasks.engine", "tasks.passages"},
    {"tasks.plan", "tasks.bench"},
    {"tasks.load", "tasks.runs", "tasks.evaluation", "tasks.doctor"},
    {"tasks.export", "tasks.predict", "tasks.report"},
    {"tasks.aggregate", "tasks.operations"},
    {"flows", "tasks.acceptance"},
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def find_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def room_of(module: str) -> str:
    package, *rest = module.split(".")
    return package if package == "flows" else ".".join((package, *rest[:1]))


SOURCES = sorted(path for top in ("flows", "tasks") for path in ROOT.glob(f"{top}/**/*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_a_room_imports_only_rooms_of_lower_floors() -> None:
    wrong = []
    for path in SOURCES:
        room = room_of(module_of(path))
        if room == "tasks.__init__":
            continue
        for name in find_imports(path):
            other = room_of(name)
            if other in FLOOR_OF and other != room and FLOOR_OF[other] >= FLOOR_OF[room]:
                wrong.append(f"{module_of(path)} imports {name}")
    assert not wrong
