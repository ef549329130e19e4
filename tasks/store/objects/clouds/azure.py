"""Azure Blob Storage."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.store.objects.clouds.cloud import Cloud

if TYPE_CHECKING:
    from obstore.store import AzureConfig, AzureStore, ClientConfig, RetryConfig

_ENDPOINTS = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
_ACCOUNT = "AZURE_STORAGE_ACCOUNT_NAME"
"""Environment variables as obstore reads them."""


def _open(bucket: str, url: str | None, options: ClientConfig, retries: RetryConfig) -> AzureStore:
    from obstore.store import AzureStore

    config: AzureConfig = {}
    if url is not None:
        config["endpoint"] = url.rstrip("/")
        if account := _account_in(url):
            config["account_name"] = account
    return AzureStore.from_url(bucket, config=config, client_options=options, retry_config=retries)


def _account_in(url: str) -> str | None:
    """Return the account in the URL of a server: its path, or the first name of a host of Azure.

    In the path it is in an emulator, such as http://127.0.0.1:10000/devstoreaccount1.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.path.strip("/") or (host.partition(".")[0] if ".blob." in host else None)


def _find_url() -> str | None:
    """Return the URL that the environment names, or else that of its account."""
    account = os.environ.get(_ACCOUNT)
    own = f"https://{account}.blob.core.windows.net" if account else None
    return next(filter(None, map(os.environ.get, _ENDPOINTS)), own)


def _quote(tag: str) -> str:
    return '"' + tag.strip('"') + '"'


AZURE = Cloud(
    open=_open,
    find_url=_find_url,
    no_bucket=re.compile("ContainerNotFound|specified container does not exist"),
    faults=(
        (
            re.compile("Account must be specified"),
            "the storage account is not known; set AZURE_STORAGE_ACCOUNT_NAME, or `store.endpoint` "
            "to https://ACCOUNT.blob.core.windows.net",
        ),
        (
            re.compile("Invalid Access Key|SAS (?:key|query pair)"),
            "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY is not as Azure writes it; copy it "
            "again",
        ),
        (
            # Anything else of a request for a token may pass.
            re.compile(r"169\.254\.\d+\.\d+|token request.*status code: 40[0-3]"),
            "there are no credentials, or they get no token; set AZURE_STORAGE_ACCOUNT_KEY, "
            "AZURE_STORAGE_SAS_KEY, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID, "
            "or give the machine a managed identity",
        ),
    ),
    advice="turn soft delete and versioning of the account off: they keep each renewal of a lease",
    listed_tag=_quote,
)
