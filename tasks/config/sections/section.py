"""What all sections of the config have in common."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from tasks.addresses import (
    find_address_fault,
    find_endpoint_fault,
    find_scheme_fault,
    is_address,
)
from tasks.config.dates import check_templates

LONGEST_PATH, LONGEST_NAME = 4095, 255  # bytes, in Linux


def _check_text(value: str) -> str:
    if not value:
        raise PydanticCustomError("string_too_short", "a non-empty text is expected")
    return value


# Not `StringConstraints`, which refuses the lone surrogates of a file name that is not UTF-8.
Text = Annotated[
    str, AfterValidator(_check_text), WithJsonSchema({"type": "string", "minLength": 1})
]


def expand_path(text: str) -> str:
    """Return a path with `~` or `~user` at its start replaced by that home.

    Raises:
        ValueError: there is no such home, or the path is one that Linux cannot have, or an address.
    """
    if is_address(text):
        raise ValueError("this cannot be in an object store: give a path of this machine")
    if fault := find_scheme_fault(text):
        raise ValueError(fault)
    try:
        path = str(Path(text).expanduser()) if text.startswith("~") else text
        data = os.fsencode(path)
    except RuntimeError:
        raise ValueError(f"{Path(text).parts[0]} has no known home: write the path out") from None
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        raise ValueError(f"not possible in {encoding}: set LC_ALL=C.UTF-8") from None
    if b"\0" in data:
        raise ValueError("a path has no NUL character")
    if len(data) > LONGEST_PATH or max(map(len, data.split(b"/"))) > LONGEST_NAME:
        raise ValueError(f"at most {LONGEST_NAME} bytes per name, {LONGEST_PATH} in all")
    return path


DatedText = Annotated[Text, AfterValidator(check_templates)]
"""A text in which `{date}` stands for the day of a run."""

PathText = Annotated[DatedText, AfterValidator(expand_path)]
"""A path, or for `model_name_or_path` a name."""


def _check_place(text: str) -> str:
    if not is_address(text):
        return expand_path(text)
    if fault := find_address_fault(text):
        raise ValueError(fault)
    return text


def _check_endpoint(text: str) -> str:
    if fault := find_endpoint_fault(text):
        raise ValueError(fault)
    return text


PlaceText = Annotated[DatedText, AfterValidator(_check_place)]
"""A path, or an address in an object store."""

EndpointText = Annotated[Text, AfterValidator(_check_endpoint)]
"""The URL of a server, without credentials."""


_STRICT = ConfigDict(strict=True)
_PLACE: TypeAdapter[str] = TypeAdapter(PlaceText, config=_STRICT)
_PLACES: TypeAdapter[list[str]] = TypeAdapter(
    Annotated[list[PlaceText], Field(min_length=1)], config=_STRICT
)


def _check_places(value: object) -> str | list[str] | None:
    """Check a value as what it is meant to be, so that a fault is not told for each type."""
    if value is None:
        return None
    return (
        _PLACES.validate_python(value) if isinstance(value, list) else _PLACE.validate_python(value)
    )


_PATH_SCHEMA: JsonDict = {"type": "string", "minLength": 1}
PlacesText = Annotated[
    str | list[str] | None,
    PlainValidator(_check_places),
    WithJsonSchema(
        {
            "anyOf": [
                _PATH_SCHEMA,
                {"type": "array", "items": _PATH_SCHEMA, "minItems": 1},
                {"type": "null"},
            ]
        }
    ),
]
"""A path or an address in an object store, a list of them, or null."""


_NAMES: TypeAdapter[list[str]] = TypeAdapter(
    Annotated[list[Text], Field(min_length=1)], config=_STRICT
)
_ALL_OR_NONE: TypeAdapter[str] = TypeAdapter(Literal["all", "none"])


def _check_columns(value: object) -> str | list[str]:
    if isinstance(value, list):
        return _NAMES.validate_python(value)
    return _ALL_OR_NONE.validate_python(value)


ColumnNames = Annotated[
    str | list[str],
    PlainValidator(_check_columns),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": ["all", "none"]},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]
"""`all`, `none`, or a list of the names of columns."""


def _is_share_or_number(value: float) -> float:
    if value >= 1 and not value.is_integer():
        raise ValueError("allowed here: a share below 1, or a whole number of rows")
    return value


RowLimit = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_is_share_or_number)]
"""The most rows of a kind: below 1 a share of all rows, otherwise their number."""


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)
