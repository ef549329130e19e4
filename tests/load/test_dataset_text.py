from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.load.dataset import LoadRequest, load_passages
from tasks.passages.layout import KINDS
from tests.support.load_requests import whole, write_kind

ODD = [
    ("长\x00江", "\x00长"),
    ("".join(map(chr, range(0x20))) + "长", "长" + "".join(map(chr, range(0x7F, 0xA0)))),
    ("长\x1b[31m江\x9b2J\x07", "\x1b]0;长\x07"),
    ("\ufeff长\ufeff江", "长\ufeff"),
    (" \t长\r\n江\r\n\n ", "长 "),
    ("长\u2028江\u2029\x85\v\f", "长\u3000"),
    ("\u202e长江\u202c \u200f\u2067\u200e", "\u061c长"),
    ("ＡＢＣ１２３　ｶﾅ カナ ABC123", "１２３"),
    ("👨‍👩‍👧 🇨🇳 长 👍🏽", "👍🏽"),
    ("e\u0301 é 长\u0301 𠀀 ﷺ ㍿", "e\u0301"),
    ("长\ufffd\ufffe\uffff\U0010ffff\ue000\U000e0001", "长\ufffd"),
    ('长"江\\n,"",\\u0000', '"长"'),
    ("=cmd|' /C calc'!A0", "@长"),
    ("[CLS]长[SEP][MASK][UNK]", "[MASK]"),
    ("<script>长</script> {{7*7}} ${长} %s", "<b>"),
    ("长江是中国最长的河流。", "不在文中"),
    ("长江", "长江"),
    ("长江", "长江"),
]


# XML, and so a workbook, has no control characters.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ".xlsx"])
def test_odd_text_and_doubled_rows_come_into_the_store_unchanged(
    load_request: LoadRequest, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"odd{kind}"
    write_kind(path, ODD)
    loaded = load_passages(replace(load_request, predict_file=path))
    assert loaded.details["reject_reasons"] == {}
    table = whole(load_request)
    pairs = zip(table["context"].to_pylist(), table["answer"].to_pylist(), strict=True)
    assert list(pairs) == ODD
    assert table["reference"].to_pylist() == [answer for _, answer in ODD]
    assert table["id"].to_pylist() == [str(number // 2) for number in range(len(ODD))]
    assert table["row"].to_pylist() == list(range(len(ODD)))


def test_row_of_a_megabyte_comes_into_the_store_unchanged(load_request: LoadRequest) -> None:
    assert load_request.predict_file is not None
    pair = ("长" * 340_000, "江")
    write_kind(load_request.predict_file, [pair])
    assert load_request.predict_file.stat().st_size > 1_000_000
    load_passages(load_request)
    (row,) = whole(load_request).to_pylist()
    assert (row["context"], row["answer"], row["seq_len"]) == (*pair, 512)


def test_message_about_a_bad_row_has_nothing_that_a_terminal_acts_on(
    load_request: LoadRequest,
) -> None:
    path = load_request.predict_file
    assert path is not None
    for line in (
        '{"context": "\x1b[31m\x9b\u202e", "answer": "\x1b", "id": "\x9b2J"}',
        '{"context": "\\ud800\\u001b", "answer": "长", "id": "\\u009b2J"}',
        '{"\x1b]0;a\x07": "\u202e"}',
        "\x1b[2J\u202e",
        '{"context": 1, "answer": "长", "id": {"\\u001b": "\\u202e"}}',
    ):
        path.write_text(line, encoding="utf-8")
        with pytest.raises(InputError) as raised:
            load_passages(replace(load_request, on_bad_row="fail"))
        assert str(raised.value).isprintable()
