"""Every exception that Wenti raises on purpose.

    WentiError
    ├── UnusableError          exit code 2: the config, the input or the machine must change first
    │   ├── FaultsError        lists every fault that was found
    │   │   ├── ConfigError    the YAML file or an override is invalid
    │   │   └── PreflightError what the config names is missing or incompatible
    │   ├── InstallationError  Paddle, or obstore for an object store, is not installed
    │   ├── ModelError         `model.model_name_or_path` is not a usable UNIMO model
    │   ├── DownloadError      a model or data set cannot be downloaded; a retry may succeed
    │   ├── InputError         the passages cannot be read, or none of them is usable
    │   ├── ExportError        no engine can export this model with these settings
    │   ├── DeviceError        a device of `predict.devices` is missing
    │   ├── StorageError       the store cannot be written: disk full, read-only, no permission
    │   │   ├── DiskError      the disk itself failed; a retry may succeed
    │   │   └── ObjectStoreError  the object store fails or is too busy; a retry may succeed
    │   ├── MachineMemoryError the machine has too little memory; nothing is damaged
    │   ├── StoreBusyError     a run is using the store, so nothing can be deleted from it
    │   ├── ServerError        Prefect's server cannot be reached
    │   └── ClusterError       the Ray cluster cannot be reached, or has no room
    ├── StoreCorruptionError   a committed file does not match its manifest
    ├── StoppedError           the run was interrupted while it waited for another run
    ├── WorkerError            a worker process died; a retry may succeed
    │   ├── BatchTimeoutError  a batch missed its deadline
    │   ├── OutOfMemoryError   a batch does not fit into the device's memory
    │   ├── BadOutputError     the model returned invalid output
    │   └── PlaceLostError     a place on the cluster is gone, or does not answer
    ├── ShardsFailedError      exit code 3: some shards failed; run again to finish
    └── SuspectError           exit code 4: the questions are beyond a limit of `quality`

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
    """The run cannot start or continue until the config, the input or the machine changes."""

    exit_code = 2


class FaultsError(UnusableError):
    """One or more faults; `faults` holds all that were found."""

    def __init__(self, source: str, faults: Sequence[Finding]) -> None:
        self.source = source
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = [f"{source} cannot be used ({count}):", *(f"  - {fault}" for fault in self.faults)]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[FaultsError], tuple[str, tuple[Finding, ...]]]:
        """Keep `source` and `faults` when the error is pickled in a child process."""
        return type(self), (self.source, self.faults)


class ConfigError(FaultsError):
    """The YAML file or an override is invalid."""


class PreflightError(FaultsError):
    """What the config names is missing, or its values are incompatible."""


class InstallationError(UnusableError):
    """A package that an extra brings, such as Paddle of `cpu` and `gpu`, is not installed."""


class ModelError(UnusableError):
    """`model.model_name_or_path` is not a usable UNIMO model."""


class DownloadError(UnusableError):
    """A model or a data set cannot be downloaded now; a retry may succeed."""

    is_transient = True


class InputError(UnusableError):
    """The passages cannot be read, or none of them is usable."""


class ExportError(UnusableError):
    """No engine can export this model with these settings."""


class DeviceError(UnusableError):
    """A device that the config names is missing."""


class StorageError(UnusableError):
    """A file cannot be written: the disk is full or read-only, or permission is denied."""


class DiskError(StorageError):
    """The disk failed to read or write (EIO); a retry may succeed."""

    is_transient = True


class ObjectStoreError(StorageError):
    """The object store does not answer, or is too busy; a retry may succeed."""

    is_transient = True


class MachineMemoryError(UnusableError):
    """The machine has too little memory; no file is damaged."""


class StoreBusyError(UnusableError):
    """A run is using the store, so nothing can be deleted from it."""


class ServerError(UnusableError):
    """Prefect's server cannot be reached; checkpoints do not depend on it and are kept."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        """Return problem and remedy on one line."""
        return f"{self.problem}; {self.remedy}"


class ClusterError(UnusableError):
    """The Ray cluster cannot be reached, or has no room; what is made is kept."""


class StoreCorruptionError(WentiError):
    """A committed file is missing or does not match its manifest."""

    is_transient = True  # a read can fail once, and another run can repair the file


class StoppedError(WentiError):
    """The run was interrupted while it waited for another run."""


class WorkerError(WentiError):
    """A worker process died; `reason` is why a row is rejected if it causes this every time."""

    is_transient = True
    reason = "engine_crash"


class BatchTimeoutError(WorkerError):
    """A batch missed its deadline."""

    reason = "timeout"


class OutOfMemoryError(WorkerError):
    """A batch does not fit into the device's memory."""

    reason = "out_of_memory"


class BadOutputError(WorkerError):
    """The model returned invalid output: a wrong shape, or scores that are not finite."""

    reason = "bad_output"


class PlaceLostError(WorkerError):
    """A place on the cluster, or its node, is gone or does not answer; another may succeed."""


class ShardsFailedError(WentiError):
    """Some shards failed; the others are kept, and another run makes only the missing ones."""

    exit_code = 3


class SuspectError(WentiError):
    """The questions are beyond a limit of `quality`, and `quality.on_breach` is `fail`."""

    exit_code = 4


def describe_error(error: BaseException) -> str:
    """Return an error's class and message, so that an empty message still says something."""
    return f"{type(error).__name__}: {error}"
