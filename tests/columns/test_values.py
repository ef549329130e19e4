"""Values that Python does not have are text, not lost."""

import json
import subprocess
import sys
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest

from tasks.columns.values import as_json, as_plain, python_values

FAR, NANOSECONDS = 10**7, 1_700_000_000_123_456_789
DAY, MOMENT = "29349-01-26", "2023-11-14 22:13:20.123456789"
FOREIGN: list[tuple[pa.DataType, int, str | None]] = [
    (pa.date32(), FAR, DAY),
    (pa.date32(), 2**31 - 1, None),
    (pa.date64(), FAR * 86_400_000, DAY),
    (pa.timestamp("s"), FAR * 86_400, f"{DAY} 00:00:00"),
    (pa.timestamp("s"), 10**17, None),
    (pa.timestamp("ms", "Mars/Olympus"), 1000, "1970-01-01 00:00:01.000+00:00"),
    (pa.timestamp("s", "Asia/Shanghai"), FAR * 86_400, f"{DAY} 00:00:00+00:00"),
    (pa.duration("s"), 10**15, "1000000000000000 s"),
]


@pytest.mark.parametrize(("kind", "value", "text"), FOREIGN)
def test_a_value_that_python_does_not_have_is_text_at_any_depth(
    kind: pa.DataType, value: int, text: str | None
) -> None:
    values = pa.array([value, None], pa.int32() if kind == pa.date32() else pa.int64()).view(kind)
    assert python_values(values) == [text, None]
    assert python_values(pa.DictionaryArray.from_arrays([0], values)) == [text]
    nested: dict[str, tuple[pa.Array, Any]] = {
        "struct": (pa.StructArray.from_arrays([values], ["x"]), [{"x": text}, {"x": None}]),
        "list": (pa.ListArray.from_arrays([0, 2], values), [[text, None]]),
        "map": (pa.MapArray.from_arrays([0, 2], ["a", "b"], values), [[("a", text), ("b", None)]]),
    }
    for array, expected in nested.values():
        assert python_values(array) == expected
        outer = pa.StructArray.from_arrays([array], ["y"])
        assert python_values(outer) == [{"y": one} for one in expected]


def test_other_values_are_those_of_python() -> None:
    day, at = date(2026, 11, 28), datetime(2026, 11, 28, 9, 30)
    rows = [{"a": day, "b": [at], "c": {"d": 0.5, "e": b"\xff"}}, None]
    assert python_values(pa.array(rows)) == rows
    assert as_json([day, at]) == '["2026-11-28", "2026-11-28 09:30:00"]'
    damaged = pa.array([b"\xe6\xb1"]).view(pa.string())
    assert python_values(pa.StructArray.from_arrays([damaged], ["x"])) == [{"x": "\ufffd"}]


def test_what_json_does_not_have_is_text_or_null() -> None:
    value = {"a": [date(2026, 11, 28), ("b", b"c")], "d": float("inf"), "e": [True, 1, 0.5, None]}
    plain = as_plain(value)
    assert plain == {"a": ["2026-11-28", ["b", "b'c'"]], "d": None, "e": [True, 1, 0.5, None]}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_nanoseconds_are_kept_without_pandas() -> None:
    code = f"""
import pyarrow as pa
from tasks.columns.values import python_values
from tasks.environment import keep_pandas_out
keep_pandas_out()
values = pa.array([{NANOSECONDS}, {NANOSECONDS // 1000 * 1000}])
for kind in (pa.timestamp("ns"), pa.timestamp("ns", "Asia/Shanghai"), pa.duration("ns")):
    print(*python_values(values.view(kind)), sep="|")
print(*python_values(pa.array([1]).view(pa.time64("ns"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines() == [
        f"{MOMENT}|2023-11-14 22:13:20.123456",
        f"{MOMENT}+00:00|2023-11-15 06:13:20.123456+08:00",
        f"{NANOSECONDS} ns|19675 days, 22:13:20.123456",
        "00:00:00.000000001",
    ]
