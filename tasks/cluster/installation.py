"""Whether Ray is installed here, without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from tasks.findings import Finding

EXECUTOR = "predict.executor"
INSTALL = "pip install 'wenti[ray]' here and on every node, or set predict.executor=local"


def find_ray_version() -> str | None:
    """Return the version of Ray that is installed; None if there is none."""
    try:
        return version("ray")
    except PackageNotFoundError:
        return None


def find_ray_faults() -> list[Finding]:
    """Return that Ray is not installed; empty if it is."""
    if find_ray_version() is None:
        return [Finding(EXECUTOR, "Ray is not installed", INSTALL)]
    return []
