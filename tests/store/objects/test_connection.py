from __future__ import annotations

import json
import sys

import pytest

from tasks.addresses import ObjectPlace
from tasks.errors import InstallationError, StorageError
from tasks.store.files import storage_of
from tasks.store.objects.connection import VARIABLE, connect, describe_stores


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tasks.store.objects.bucket", None)
    with pytest.raises(InstallationError, match=r"s3://not-opened-before .*'wenti\[s3\]'"):
        storage_of(ObjectPlace("s3://not-opened-before/store"))


def test_half_of_the_credentials_is_a_readable_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "half")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(StorageError, match=r"cannot open s3://half-known: there are no credent"):
        storage_of(ObjectPlace("s3://half-known/store"))


@pytest.mark.parametrize(
    ("given", "here", "told"),
    [
        ("http://given:9000", "http://here:9000", "http://given:9000"),
        (None, "http://here:9000", "http://here:9000"),
        (None, "http://name:secret@here:9000", None),
        (None, None, None),
    ],
)
def test_other_machines_are_told_the_endpoint_and_never_a_credential(
    given: str | None, here: str | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", here or "")
    connect(ObjectPlace("s3://bucket/store"), given, "/cache")
    variables = describe_stores()
    assert json.loads(variables[VARIABLE])["s3://bucket"] == {"endpoint": told, "cache": "/cache"}
    assert "secret" not in str(variables)
