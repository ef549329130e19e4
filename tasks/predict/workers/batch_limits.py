"""What a device has shown that it can do: how long a batch takes, and how large one may be."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_SECONDS = 900.0
"""For the first batch of a worker, which loads the model and fills every cache."""

SHORTEST_SECONDS = 60.0
"""No batch is given less: other programs may have the device for a while."""

PATIENCE = 20.0
"""How many times the expected seconds a batch may take."""


@dataclass
class DeviceLimits:
    """Kept for as long as a run lasts, for each device.

    Attributes:
        seconds_per_token: the slowest that was measured, over padded tokens; 0 at first.
        most_tokens: padded tokens of a batch above which the device ran out of memory.
        fixed_seconds: the deadline of every batch, where the config gives one.
    """

    seconds_per_token: float = 0.0
    most_tokens: float = float("inf")
    fixed_seconds: float | None = None
    _known: bool = field(default=False, repr=False)

    def deadline(self, padded_tokens: int) -> float:
        """Give the seconds after which a batch of so many padded tokens counts as hanging."""
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
        """A new worker begins: its first batch takes longer."""
        self._known = False
