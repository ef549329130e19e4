"""Which texts ask: those with a question mark, or with a question word of Chinese or English."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

_CHINESE = (
    "[什甚]么|什麼|甚麼|啥|[谁誰]|怎|多少|是否|[能可]否|是不是|有没有|有沒有|孰",
    "哪([^怕]|$)",
    "(^|[^茶])[几幾]([^乎何率]|$)",
    "([如为為]|缘|緣)何|(^|[^任])何([时時处處人地种種物年月日方以在故谓謂者为為])",
    "(^|[^许許很更太众眾诸諸最])多(大|小|长|長|高|远|遠|久|深|宽|寬|重|厚|快)",
    "[吗嗎]([^啡]|$)",
    r"呢\pP*$",
)
_ENGLISH = (
    r"^\PL*((in|on|at|to|of|by|for|from|with|about|under|until|since|and|so|but) )?"
    r"(what|who|whom|whose|which|when|where|why|how)('s|'re)?\b",
    r"^\PL*(is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|shall|should|may"
    r"|might|must)(n't)? .",
)
PATTERN = "|".join((r"[?？﹖؟]", *_CHINESE, *(f"(?i:{one})" for one in _ENGLISH)))
"""What a text that asks contains, as RE2 writes it. English question words also join sentences, so
they count only at the beginning."""


def find_asking(texts: pa.StringArray) -> pa.BooleanArray:
    """Return which texts ask."""
    return pc.match_substring_regex(texts, PATTERN)
