"""What the rest of `tasks.store.objects` needs to know of an object store."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig


class Opens(Protocol):
    """Opens a client; credentials come from the environment or the instance, as obstore does it."""

    def __call__(
        self, bucket: str, url: str | None, options: ClientConfig, retries: RetryConfig
    ) -> ObjectStore:
        """Return a client of a bucket on the server with this URL, or on the provider's own."""


@dataclass(frozen=True)
class Cloud:
    """An object store.

    Attributes:
        open: opens a client.
        find_url: returns the URL of the server that the environment names, or None.
        no_bucket: found in an answer that the bucket does not exist.
        faults: patterns of errors, each with what is wrong and what to do.
        advice: what the owner of a bucket should set in it, for a store.
        listed_tag: returns an ETag of a list as other answers have it.
    """

    open: Opens
    find_url: Callable[[], str | None]
    no_bucket: re.Pattern[str]
    faults: tuple[tuple[re.Pattern[str], str], ...]
    advice: str
    listed_tag: Callable[[str], str] = str
