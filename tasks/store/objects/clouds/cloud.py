"""What the rest of `tasks.store.objects` needs to know of an object store."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig


@dataclass(frozen=True)
class Cloud:
    """An object store.

    Attributes:
        open: returns a client of a bucket on the server with a URL, or on the provider's own;
            credentials come from the environment or the instance, as obstore finds them.
        find_url: returns the URL of the server that the environment names, or None.
        no_bucket: found in an answer that the bucket does not exist.
        faults: patterns of errors, each with what is wrong and what to do.
        advice: what the owner of a bucket should set in it, for a store.
        listed_tag: returns an ETag of a list as other answers have it.
    """

    open: Callable[[str, str | None, ClientConfig, RetryConfig], ObjectStore]
    find_url: Callable[[], str | None]
    no_bucket: re.Pattern[str]
    faults: tuple[tuple[re.Pattern[str], str], ...]
    advice: str
    listed_tag: Callable[[str], str] = str
