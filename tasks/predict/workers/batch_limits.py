"""What is learned of a device during a run: how long a batch takes, and how large it may be."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_SECONDS = 900.0
"""Deadline of a worker's first batch, before which it loads the model and fills caches."""

SHORTEST_SECONDS = 60.0
"""The least deadline of a batch: other programs may use the device for a while."""

PATIENCE = 20.0
"""A batch may take this many times the expected seconds."""


@dataclass
class DeviceLimits:
    """The limits of one device, kept for the whole run.

    Attributes:
        seconds_per_token: the slowest measured so far, by padded tokens; 0 at first.
        most_tokens: the most padded tokens that a batch of several rows may have.
        fixed_seconds: the deadline of every batch, if the config sets one.
    """

    seconds_per_token: float = 0.0
    most_tokens: float = float("inf")
    fixed_seconds: float | None = None
    _known: bool = field(default=False, repr=False)

    def deadline(self, padded_tokens: int) -> float:
        """Return the seconds after which a batch of so many padded tokens counts as hanging."""
        if self.fixed_seconds is not None:
            return self.fixed_seconds
        if not self._known:
            return FIRST_SECONDS
        return max(SHORTEST_SECONDS, PATIENCE * padded_tokens * self.seconds_per_token)

    def learn_speed(self, padded_tokens: int, seconds: float) -> None:
        """Note how long a batch took."""
        self._known = True
        self.seconds_per_token = max(self.seconds_per_token, seconds / padded_tokens)

    def learn_too_large(self, padded_tokens: int) -> None:
        """Note that a batch of so many padded tokens did not fit; half of it may."""
        self.most_tokens = min(self.most_tokens, padded_tokens / 2)

    def forget_speed(self) -> None:
        """Expect a slow first batch again, because a new worker starts."""
        self._known = False
