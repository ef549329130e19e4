"""Addresses in an object store, such as `s3://bucket/prefix/runs`."""

from __future__ import annotations

import re
from pathlib import Path, PurePath, PurePosixPath

from tasks.errors import InputError

SCHEME = "s3://"
_OTHERS = re.compile(r"(gs|gcs|az|azure|abfss?|wasbs?|adl|oss|cosn?|obs|tos|bos|s3[an]?)://", re.I)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
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
    def bucket(self) -> str:
        """The address of the bucket, such as `s3://bucket`."""
        return f"{SCHEME}{self.parts[1]}"

    @property
    def key(self) -> str:
        """The key in the bucket; empty for the bucket itself."""
        return "/".join(self.parts[2:])


def is_address(text: str) -> bool:
    """Return whether a text is meant as an address in an object store and not as a path."""
    return text.startswith(SCHEME)


def find_address_fault(text: str) -> str | None:
    """Return what is wrong with an address, without repeating it; None if nothing is."""
    bucket, _, prefix = text.removeprefix(SCHEME).partition("/")
    if any(sign in text for sign in "@?#"):
        return f"an address has no @, ? or #: {_SECRETS}"
    if not _BUCKET.fullmatch(bucket):
        return (
            "an address is s3://bucket/prefix, and the name of a bucket has 3 to 63 lower-case "
            "letters, digits, dots and hyphens"
        )
    if {".", ".."} & set(prefix.split("/")) or not prefix.isprintable():
        return "a prefix has no `.` and no `..` between its slashes, and no control characters"
    return None


def find_scheme_fault(text: str) -> str | None:
    """Return why a text is no path but the address of another object store; None if it is a path.

    Nothing there needs conditions of PUTs but a store, but obstore's clients for Google and Azure
    have other credentials and errors, and nobody has run them with Wenti.
    """
    if is_address(text) or not _OTHERS.match(text):
        return None
    return (
        "of object stores, only s3://bucket/key is read and written; a service that speaks S3's "
        "protocol is s3:// with its URL as store.endpoint (docs/object-stores.md)"
    )


def find_endpoint_fault(text: str) -> str | None:
    """Return what is wrong with the URL of an S3 server, without repeating it; None if nothing."""
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
