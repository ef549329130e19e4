from __future__ import annotations

import sys

import pytest

from tasks.addresses import ObjectPlace
from tasks.errors import InstallationError
from tasks.store.files import storage_of


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tasks.store.objects.bucket", None)
    with pytest.raises(InstallationError, match=r"s3://not-opened-before .*'wenti\[s3\]'"):
        storage_of(ObjectPlace("s3://not-opened-before/store"))
