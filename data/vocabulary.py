"""Make ``checkpoint/vocab.txt``, the word pieces of the tokenizer.

Run it as ``python data/vocabulary.py``, after ``make_passages.py``.
"""

import json
import string
from pathlib import Path

DATA = Path(__file__).resolve().parent
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]")
PUNCTUATION = "，。、；：？！“”‘’（）《》〈〉【】「」『』〔〕—…·～￥％．＋－／"


def gb2312_level_one() -> list[str]:
    """Return the 3755 common characters of GB 2312, in the order of the standard."""
    codes = [bytes((row, cell)) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF)]
    return [code.decode("gb2312") for code in codes if code < b"\xd7\xfa"]


def data_characters() -> list[str]:
    """Return every character of the fact tables and the passage files, in lower case, sorted."""
    text = "问题答案上下文"
    for path in sorted(DATA.glob("facts/*.csv")):
        text += path.read_text(encoding="utf-8")
    for path in sorted(DATA.glob("passages/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            text += "".join(json.loads(line).values())
    return sorted({character for character in text.lower() if not character.isspace()})


def make_vocabulary() -> list[str]:
    """Return the word pieces; a piece's position in the list is its id."""
    letters = [*string.digits, *string.ascii_lowercase]
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [*string.punctuation, *PUNCTUATION, *gb2312_level_one(), *data_characters()]
    # "[SEP]" in a text is split into pieces like any other word
    return list(dict.fromkeys(pieces))


def main() -> None:
    """Write the vocabulary as lines of piece, tab, id."""
    path = DATA / "checkpoint" / "vocab.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    pieces = make_vocabulary()
    lines = [f"{piece}\t{index}\n" for index, piece in enumerate(pieces)]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{len(pieces)} word pieces")


if __name__ == "__main__":
    main()
