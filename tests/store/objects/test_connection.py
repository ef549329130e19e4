from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import obstore
import pytest
from obstore.store import AzureStore

from tasks.addresses import ObjectPlace
from tasks.errors import InstallationError, ObjectStoreError, StorageError
from tasks.store.files import storage_of
from tasks.store.objects.connection import VARIABLE, connect, describe_stores, open_client
from tasks.store.objects.faults import object_faults


@contextmanager
def one_answer(status: int) -> Iterator[str]:
    """Yield the URL of a server that answers everything with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


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
    ("variables", "fault"),
    [
        ({}, "the storage account is not known; set AZURE_STORAGE_ACCOUNT_NAME"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": "no-base64!"}, "is not as Azure writes it; copy it again"),
        ({"AZURE_STORAGE_SAS_KEY": "no-pair"}, "is not as Azure writes it; copy it again"),
    ],
)
def test_what_is_wrong_with_the_credentials_of_azure_is_said_without_them(
    variables: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    with pytest.raises(StorageError, match=fault) as caught:
        storage_of(ObjectPlace("az://half-known/store"))
    assert not [value for value in variables.values() if value in str(caught.value)]


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (401, StorageError, "there are no credentials, or they get no token"),
        (503, ObjectStoreError, r"the object store fails \(503\); nothing is damaged"),
    ],
)
def test_a_token_that_is_refused_is_no_token_that_is_late(
    status: int, kind: type[StorageError], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET", "TENANT_ID"):
        monkeypatch.setenv(f"AZURE_{name}", "secret")
    place = ObjectPlace("az://container/it")
    with one_answer(status) as url:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", url)
        client = open_client(place.bucket, f"{url}/account", 1, 0)
        with pytest.raises(kind, match=told) as caught, object_faults(place, "read"):
            obstore.get(client, place.key)
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "account"),
    [
        ("https://questions.blob.core.windows.net", "questions"),
        ("https://questions.z1.blob.storage.azure.net/", "questions"),
        ("https://questions.blob.core.chinacloudapi.cn", "questions"),
        ("http://127.0.0.1:10000/questions", "questions"),
        ("https://blobs.example.com", None),
    ],
)
def test_the_account_of_azure_is_that_of_the_url_or_else_of_the_environment(
    url: str, account: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "of-the-environment")
    client = open_client("az://container", url, 1, 0)
    assert isinstance(client, AzureStore)
    assert client.config.get("account_name") == account  # what is not given, obstore looks up


SERVERS = [
    ("s3", {"AWS_ENDPOINT_URL": "http://here:9000"}, "http://here:9000"),
    ("s3", {"AWS_ENDPOINT_URL": "http://name:secret@here:9000"}, None),
    ("az", {"AZURE_STORAGE_ENDPOINT": "http://here:9000"}, "http://here:9000"),
    ("az", {"AZURE_STORAGE_ACCOUNT_NAME": "here"}, "https://here.blob.core.windows.net"),
    ("s3", {"AZURE_STORAGE_ENDPOINT": "http://here:9000"}, None),
    ("az", {"AWS_ENDPOINT_URL": "http://here:9000"}, None),
]


@pytest.mark.parametrize("given", ["http://given:9000", None])
@pytest.mark.parametrize(("scheme", "here", "told"), SERVERS)
def test_other_machines_are_told_the_endpoint_and_never_a_credential(
    given: str | None,
    scheme: str,
    here: dict[str, str],
    told: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    for secret in ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY"):
        monkeypatch.setenv(secret, "secret")
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    connect(ObjectPlace(f"{scheme}://bucket/store"), given, "/cache")
    variables = describe_stores()
    found = json.loads(variables[VARIABLE])[f"{scheme}://bucket"]
    assert found == {"endpoint": given or told, "cache": "/cache"}
    assert "secret" not in str(variables)
