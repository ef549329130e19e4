from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from tasks.store.tables import commit_table
from tests.support.rehearsal import ROOT

# A process that reads a small table, which starts Arrow's threads, and may then have 128 MB more
# than it has, and reads one row of 256 MB.
PROGRAM = """
import resource, sys
from pathlib import Path
from tasks.errors import MachineMemoryError
from tasks.store.tables import iterate_rows
from tasks.system_errors import machine_faults

list(iterate_rows(Path(sys.argv[1])))
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (128 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    with machine_faults():
        list(iterate_rows(Path(sys.argv[2])))
except MachineMemoryError as error:
    print(error)
"""


def test_a_table_that_does_not_fit_into_memory_is_not_damaged(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("text", pa.string())])
    paths = [tmp_path / "small.parquet", tmp_path / "large.parquet"]
    for path, size in zip(paths, (1, 256 << 20), strict=True):
        commit_table(path, schema, [pa.record_batch([["x" * size]], schema=schema)])
    program = [sys.executable, "-c", PROGRAM, *map(str, paths)]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "too little memory" in done.stdout
    assert "nothing is damaged" in done.stdout
