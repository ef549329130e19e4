"""Which generation of Paddle is installed, found without importing it, and what it cannot do."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType

from tasks.engine.paddle.installation import PaddleBuild, find_builds, find_version
from tasks.findings import Finding

HALF, TENSORRT, OPERATORS = "half precision", "TensorRT", "FasterTransformer"

_REWRITES = "rewrites graphs in the file format of Paddle 2 and cannot read those of Paddle 3"


@dataclass(frozen=True)
class Generation:
    """A generation of Paddle.

    Attributes:
        number: the first number of its version.
        paddlenlp: the version of PaddleNLP that belongs to it.
        model_suffix: the end of the name of a saved graph.
        reads: the ends of the names of graphs that it can run.
        for_gpus: how to install it for GPUs.
        opens_cuda: whether it opens CUDA's libraries by names that only a system-wide CUDA has, so
            that Wenti loads them before; otherwise it declares and loads its own packages.
        missing: why Wenti does not support something with it, by the name of that.
    """

    number: int
    paddlenlp: str
    model_suffix: str
    reads: frozenset[str]
    for_gpus: str
    opens_cuda: bool
    missing: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))


PADDLE2 = Generation(
    number=2,
    paddlenlp="2.8.1",
    model_suffix=".pdmodel",
    reads=frozenset({".pdmodel"}),
    for_gpus="install wenti[gpu] (paddlepaddle-gpu) in place of wenti[cpu] (paddlepaddle)",
    opens_cuda=True,
)
PADDLE3 = Generation(
    number=3,
    paddlenlp="3.0.0b4",
    model_suffix=".json",
    reads=frozenset({".json", ".pdmodel"}),
    for_gpus=(
        "install wenti[gpu3] and paddlepaddle-gpu, which Paddle publishes (docs/gpu.md), in place "
        "of wenti[cpu3] (paddlepaddle)"
    ),
    opens_cuda=False,
    missing=MappingProxyType(
        {
            HALF: f"Wenti's conversion to half precision {_REWRITES}",
            TENSORRT: f"Wenti's preparation for TensorRT {_REWRITES}",
            OPERATORS: "PaddleNLP 3 no longer contains its operators",
        }
    ),
)


@cache
def find_generation() -> Generation:
    """Return the generation of the installed Paddle; Paddle 2 if none is installed."""
    return generation_of(find_builds())


def generation_of(builds: list[PaddleBuild]) -> Generation:
    """Return the generation of the first of these builds; Paddle 2 if there is none."""
    return PADDLE3 if any(build.version.startswith("3.") for build in builds[:1]) else PADDLE2


def find_paddlenlp_faults() -> list[Finding]:
    """Return the fault of a PaddleNLP that does not belong to the installed Paddle."""
    wanted, found = find_generation(), find_version("paddlenlp")
    if found == wanted.paddlenlp:
        return []
    problem = f"PaddleNLP is {found}, but Paddle {wanted.number} needs {wanted.paddlenlp}"
    return [Finding("paddlenlp", problem, f"pip install paddlenlp=={wanted.paddlenlp}")]
