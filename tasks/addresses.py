"""Addresses in object stores, such as `s3://bucket/prefix/runs` and `az://container/prefix/runs`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from tasks.errors import InputError


@dataclass(frozen=True)
class Scheme:
    """How the addresses of one kind of object store are written.

    Attributes:
        noun: what the first name of an address is.
        names: such names.
        signs: what they consist of, for messages.
    """

    noun: str
    names: re.Pattern[str]
    signs: str


SCHEMES = {
    "s3": Scheme(
        "bucket",
        re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
        "lower-case letters, digits, dots and hyphens",
    ),
    "az": Scheme(
        "container",
        re.compile(r"(?=.{3,63}\Z)[a-z0-9]+(-[a-z0-9]+)*"),
        "lower-case letters, digits and single hyphens",
    ),
}
_SCHEME = re.compile(rf"({'|'.join(SCHEMES)})://")
_OTHERS = {
    r"gs|gcs": "Google Cloud Storage is not used: there was no server to try its client on; keep "
    "the store in a folder, s3:// or az://, and copy passages there (docs/object-stores.md)",
    r"azure|abfss?|wasbs?|adl": "in Azure, an address is az://container/key, and the account is in "
    "AZURE_STORAGE_ACCOUNT_NAME or store.endpoint (docs/object-stores.md)",
    r"oss|cosn?|obs|tos|bos|s3[an]?|az": "of object stores, only s3://bucket/key and "
    "az://container/key are read and written; a service that speaks S3's protocol is s3:// with "
    "its URL as store.endpoint (docs/object-stores.md)",
}
_ENDPOINT = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[^\s?#@]*)?")
_SECRETS = "credentials come from the environment or the instance, never from an address"


class ObjectPlace(PurePosixPath):
    """A place in an object store; its first parts are the scheme and the bucket.

    It is no path of this machine, so nothing can open it by mistake.
    """

    __slots__ = ()

    def __str__(self) -> str:
        """Return the address with both slashes, of which `PurePosixPath` keeps one."""
        return super().__str__().replace(":/", "://", 1)

    def __fspath__(self) -> str:
        """Refuse to be opened as a local file.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self} is in an object store and cannot be opened as a file")

    @property
    def scheme(self) -> str:
        """Which kind of object store it is in: a key of `SCHEMES`."""
        return self.parts[0].removesuffix(":")

    @property
    def noun(self) -> str:
        """What the object store calls a bucket."""
        return SCHEMES[self.scheme].noun

    @property
    def bucket(self) -> str:
        """The address of the bucket, such as `s3://bucket`."""
        return f"{self.scheme}://{self.parts[1]}"

    @property
    def key(self) -> str:
        """The key in the bucket; empty for the bucket itself."""
        return "/".join(self.parts[2:])


def is_address(text: str) -> bool:
    """Return whether a text is meant as an address in an object store and not as a path."""
    return _SCHEME.match(text) is not None


def find_address_fault(text: str) -> str | None:
    """Return what is wrong with an address, without repeating it; None if nothing is."""
    name, _, rest = text.partition("://")
    scheme = SCHEMES[name]
    bucket, _, prefix = rest.partition("/")
    if any(sign in text for sign in "@?#"):
        return f"an address has no @, ? or #: {_SECRETS}"
    if not scheme.names.fullmatch(bucket):
        return (
            f"an address is {name}://{scheme.noun}/prefix, and the name of a {scheme.noun} has 3 "
            f"to 63 {scheme.signs}"
        )
    if {".", ".."} & set(prefix.split("/")) or not prefix.isprintable():
        return "a prefix has no `.` and no `..` between its slashes, and no control characters"
    return None


def find_scheme_fault(text: str) -> str | None:
    """Return why a text is no path but an address in another object store; None for a path."""
    if is_address(text):
        return None
    return next(
        (fault for some, fault in _OTHERS.items() if re.match(f"({some})://", text, re.I)), None
    )


def find_endpoint_fault(text: str) -> str | None:
    """Return what is wrong with the URL of a server, without repeating it; None if nothing."""
    if "@" in text or "?" in text:
        return f"a URL has no @ and no ? here: {_SECRETS}"
    if not _ENDPOINT.fullmatch(text):
        return "it is the URL of the server, such as https://s3.example.com:9000"
    return None


def place_at(text: str) -> PurePath:
    """Return the place that a text names: in an object store, or a path of this machine.

    Raises:
        InputError: the address is wrong; the message does not repeat it.
    """
    fault = find_address_fault(text) if is_address(text) else find_scheme_fault(text)
    if fault is not None:
        raise InputError(f"the address cannot be used: {fault}")
    return ObjectPlace(text) if is_address(text) else Path(text)


def absolute_place(place: PurePath) -> PurePath:
    """Return a place as it is found from every working folder; links are not followed."""
    return place if isinstance(place, ObjectPlace) else Path(place).absolute()
