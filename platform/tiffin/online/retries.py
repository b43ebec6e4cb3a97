"""How often and after which pauses something is tried again when a server does not answer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

__all__ = ["Retries"]


@dataclass(frozen=True, slots=True)
class Retries:
    """Pauses that double and are drawn at random up to that, so that a thousand clients of one restarted server do not
    all come back in the same instant.

    Args:
        attempts: how often it is tried again after the first time.
        first_s, longest_s: bounds of the first pause and of any.
        draw: a number in [0, 1).
        sleep: waits that long.
    """

    attempts: int = 3
    first_s: float = 0.05
    longest_s: float = 1.0
    draw: Callable[[], float] = random.random
    sleep: Callable[[float], None] = time.sleep

    def pauses(self) -> Iterator[float]:
        """The pause before each further attempt.

        Example:
            >>> list(Retries(attempts=3, first_s=1, longest_s=3, draw=lambda: 0.5).pauses())
            [0.5, 1.0, 1.5]
        """
        for attempt in range(self.attempts):
            yield self.draw() * min(self.longest_s, self.first_s * 2**attempt)
