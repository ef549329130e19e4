"""The plan of an episode of the soak, drawn from the seed, and the damage to a store."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.disturbances import LINES, ClockJumps, Disturbance, Drawn

SMALL, BIG = 30, 300  # rows
STARTS = ("empty", "without shards", "with known rows", "done")
HARMS = ("bit", "cut", "empty", "delete", "swap")


@dataclass(frozen=True)
class Damage(Drawn):
    """Damage to a committed file between runs; the numbers are from 0 to 1."""

    how: str
    where: float
    other: float
    place: float

    @classmethod
    def draw(cls, rng: random.Random) -> Damage:
        how = rng.choice(HARMS)
        return cls(how, rng.random(), rng.random(), rng.random())

    def do(self, store: Path) -> bool:
        """Damage a file, if there is one; return whether anything changed."""
        files = sorted(find_committed(store))
        if not files:
            return False
        victim = files[int(self.where * len(files))]
        content = victim.read_bytes()
        if self.how == "delete":
            victim.unlink()
            return True
        if self.how == "swap":
            alike = [path for path in files if path.suffix == victim.suffix]
            other = alike[int(self.other * len(alike))]
            victim.write_bytes(other.read_bytes())
            other.write_bytes(content)
        else:
            victim.write_bytes(self._spoil(content))
        return not victim.exists() or victim.read_bytes() != content

    def _spoil(self, content: bytes) -> bytes:
        at = int(self.place * len(content))
        if self.how == "bit" and content:
            bit = 1 << int(self.other * 8)
            return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
        return b"" if self.how == "empty" else content[:at]


def find_committed(store: Path) -> Iterator[Path]:
    """Yield every file with a final name in the store."""
    for kind in ("exports", "datasets", "predictions", "runs"):
        for path in (store / kind).glob("*/*"):
            is_linked = path.parent.is_symlink() or path.is_symlink()
            if path.is_file() and not is_linked and not path.name.startswith("."):
                yield path


@dataclass(frozen=True)
class Round:
    """Runs that start together, their disturbances, and changes to the store before.

    `wipes` deletes all shards, so that there is work to do; `collects` runs `wenti gc --delete`.
    """

    runs: int
    disturbances: tuple[Disturbance, ...]
    damages: tuple[Damage, ...]
    wipes: bool
    collects: bool

    @classmethod
    def draw(cls, rng: random.Random) -> Round:
        runs = rng.choice([1, 1, 2])
        kinds = [rng.choice(line) for line in rng.sample(LINES, rng.choice([1, 1, 2]))]
        kinds += [ClockJumps] * (rng.random() < 0.2)
        return cls(
            runs,
            tuple(kind.draw(rng, runs) for kind in kinds),
            tuple(Damage.draw(rng) for _ in range(rng.choice([0, 0, 1, 3]))),
            rng.random() < 0.5,
            rng.random() < 0.2,
        )

    def exits(self, run: int) -> set[int]:
        """Return the exit codes that are allowed for a run."""
        mine = (one.exits for one in self.disturbances if getattr(one, "run", run) == run)
        return {0}.union(*mine)


@dataclass(frozen=True)
class Episode:
    """Everything that happens to one store."""

    seed: str
    is_big: bool
    start: str
    rounds: tuple[Round, ...]

    @classmethod
    def draw(cls, seed: str) -> Episode:
        rng = random.Random(seed)  # noqa: S311 not for secrets
        rounds = tuple(Round.draw(rng) for _ in range(rng.randint(1, 3)))
        return cls(seed, rng.random() < 0.1, rng.choice(STARTS), rounds)

    def __str__(self) -> str:
        lines = [f"episode {self.seed}: {BIG if self.is_big else SMALL} rows, store {self.start}"]
        for one in self.rounds:
            also = (["wipe"] if one.wipes else []) + (["gc"] if one.collects else [])
            done = "; ".join(map(str, [*one.damages, *also, *one.disturbances]))
            lines.append(f"{one.runs} x ({done})")
        return " | ".join(lines)
