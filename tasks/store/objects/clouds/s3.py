"""S3, and servers that speak its protocol."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from tasks.store.objects.clouds.cloud import Cloud

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
"""Environment variables with the URL of the server, as obstore reads them."""


def _open(bucket: str, url: str | None, options: ClientConfig, retries: RetryConfig) -> S3Store:
    from obstore.store import S3Store

    config: S3Config = {} if url is None else {"endpoint": url}
    return S3Store.from_url(bucket, config=config, client_options=options, retry_config=retries)


def _find_url() -> str | None:
    return next(filter(None, map(os.environ.get, _ENDPOINTS)), None)


S3 = Cloud(
    open=_open,
    find_url=_find_url,
    no_bucket=re.compile("NoSuchBucket"),
    faults=(
        (
            re.compile(r"169\.254\.\d+\.\d+|CredentialsError|[Mm]issing ?\w*(?:credential|Key)"),
            "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
            "the instance a role",
        ),
        (
            re.compile(r"<Code>(?:RequestTimeTooSkewed|RequestExpired)</Code>"),
            "the clock of this machine is wrong; set it, such as with NTP, and run again",
        ),
        (
            re.compile(r"\b507\b|<Code>\w*(?:Quota|InsufficientStorage|StorageFull)"),
            "the bucket is full; delete something from it, such as with `wenti gc`, or raise its "
            "quota",
        ),
    ),
    advice="let a lifecycle rule of the bucket delete unfinished uploads after a week",
)
