"""Every exception that Wenti raises on purpose.

    WentiError
    ├── UnusableError          exit code 2: the config, the input or the machine must change first
    │   ├── FaultsError        several things are wrong; lists every fault at once
    │   │   ├── ConfigError    the YAML file or an override
    │   │   └── PreflightError what the config names is not there or does not go together
    │   ├── InstallationError  Paddle is not installed
    │   ├── ModelError         `model.model_name_or_path` is not a usable UNIMO checkpoint
    │   ├── InputError         the passages cannot be read, or none of them is usable
    │   ├── ExportError        no engine can export this model with these settings
    │   ├── DeviceError        a device of `predict.devices` is not there
    │   ├── StorageError       the store cannot be written: disk full, read-only, no permission
    │   │   └── DiskError      the disk itself failed; a retry may cure it
    │   ├── StoreBusyError     a run is using the store, so that nothing can be removed from it
    │   └── ServerError        Prefect's server cannot be reached
    ├── StoreCorruptionError   a committed file is not what its manifest says
    ├── StoppedError           the run was interrupted while this waited for its turn
    ├── WorkerError            a worker process died; a retry may cure it
    │   ├── BatchTimeoutError  a batch was not done by its deadline
    │   ├── OutOfMemoryError   a batch does not fit into the device's memory
    │   └── BadOutputError     the model answered with nonsense
    └── ShardsFailedError      exit code 3: some shards failed; run again to finish

A message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.findings import Finding


class WentiError(Exception):
    """Anything that Wenti raises on purpose.

    Attributes:
        exit_code: what the command line ends with.
        is_transient: whether the same work, tried again, may succeed.
    """

    exit_code = 1
    is_transient = False


class UnusableError(WentiError):
    """The run cannot start, or cannot go on, until somebody changes something."""

    exit_code = 2


class FaultsError(UnusableError):
    """Several things are wrong; `faults` holds every one that was found."""

    def __init__(self, source: str, faults: Sequence[Finding]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = [f"{source} cannot be used ({count}):", *(f"  - {fault}" for fault in self.faults)]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[FaultsError], tuple[str, tuple[Finding, ...]]]:
        """Let the error cross from a child process with its faults."""
        return type(self), (self.source, self.faults)


class ConfigError(FaultsError):
    """The YAML file or an override is wrong."""


class PreflightError(FaultsError):
    """What the config names is not there, or does not go together."""


class InstallationError(UnusableError):
    """Paddle, which comes with the extras `cpu` and `gpu`, is not installed."""


class ModelError(UnusableError):
    """`model.model_name_or_path` is not a usable UNIMO checkpoint."""


class InputError(UnusableError):
    """The passages cannot be read, or none of them is usable."""


class ExportError(UnusableError):
    """No engine can export this model with these settings."""


class DeviceError(UnusableError):
    """A device that the config asks for is not there."""


class StorageError(UnusableError):
    """A file cannot be written: the disk is full, read-only, or closed to this user."""


class DiskError(StorageError):
    """The disk failed to read or write; once in a while, a retry cures it."""

    is_transient = True


class StoreBusyError(UnusableError):
    """A run is using the store, so that nothing can be removed from it."""


class ServerError(UnusableError):
    """Prefect's server cannot be reached; checkpoints do not need it and are kept."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        """Return problem and remedy on one line."""
        return f"{self.problem}; {self.remedy}"


class StoreCorruptionError(WentiError):
    """A committed file is missing or is not what its manifest says."""

    is_transient = True  # a read can fail once, and another run can repair the file


class StoppedError(WentiError):
    """The run was interrupted while this waited for its turn."""


class WorkerError(WentiError):
    """A worker process died; `reason` is what a row is rejected for that does it every time."""

    is_transient = True
    reason = "engine_crash"


class BatchTimeoutError(WorkerError):
    """A batch was not done by its deadline."""

    reason = "timeout"


class OutOfMemoryError(WorkerError):
    """A batch does not fit into the device's memory."""

    reason = "out_of_memory"


class BadOutputError(WorkerError):
    """The model answered with nonsense: a wrong shape, or scores that are not numbers."""

    reason = "bad_output"


class ShardsFailedError(WentiError):
    """Some shards failed; what succeeded is kept, and running again makes the rest."""

    exit_code = 3


def describe_error(error: BaseException) -> str:
    """Give an error as one text, also one that says nothing."""
    return f"{type(error).__name__}: {error}"
