"""A circuit breaker: after some failures in a row nobody waits for a server that does not answer. Runs inside Triton.

The state machine is pure; `BreakingRows` puts it before any source of rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tiffin.core.errors import NotReady
from tiffin.online.source import Answer, Ask, RowSource

__all__ = ["Breaker", "BreakingRows", "Circuit"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a circuit opens, and when it is tried again.

    Args:
        failures: in a row, that open it.
        rest_s: how long it stays open before one request is let through; a failure of that one opens it again.
    """

    failures: int = 5
    rest_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state: closed while `opened_at` is None.

    Args:
        failed: failures in a row.
        opened_at: when it was opened, or last tried, in seconds of a clock that never goes back.

    Example:
        >>> rule, circuit = Breaker(failures=2, rest_s=10), Circuit()
        >>> circuit = circuit.after(rule, success=False, now=0).after(rule, success=False, now=1)
        >>> circuit.lets_through(rule, now=5), circuit.lets_through(rule, now=11)
        (False, True)
        >>> circuit.tried(now=11).lets_through(rule, now=12)
        False
        >>> circuit.tried(now=11).after(rule, success=True, now=12).lets_through(rule, now=12)
        True
    """

    failed: int = 0
    opened_at: float | None = None

    def lets_through(self, rule: Breaker, *, now: float) -> bool:
        """Whether a request may go to the server."""
        return self.opened_at is None or now - self.opened_at >= rule.rest_s

    def tried(self, *, now: float) -> Circuit:
        """A request is on its way: while the circuit is open, the others wait for its outcome."""
        return self if self.opened_at is None else replace(self, opened_at=now)

    def after(self, rule: Breaker, *, success: bool, now: float) -> Circuit:
        """The state once a request has ended."""
        if success:
            return Circuit()
        failed = self.failed + 1
        return Circuit(failed, now if failed >= rule.failures else self.opened_at)


class BreakingRows:
    """A `RowSource` that fails at once while its server is known not to answer. Threads may share it.

    Args:
        source: the one that is protected; only its NotReady counts as a failure.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, source: RowSource, *, rule: Breaker, now: Callable[[], float]) -> None:
        self.source = source
        self.rule = rule
        self.now = now
        self.circuit = Circuit()
        self.lock = threading.Lock()

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        return self.protected(lambda: self.source.words(names))

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        return self.protected(lambda: self.source.fetch(asks))

    def protected(self, act: Callable[[], T]) -> T:
        """Ask, unless the circuit is open, and remember how it went."""
        with self.lock:
            if not self.circuit.lets_through(self.rule, now=self.now()):
                raise NotReady(
                    f"the online store failed {self.circuit.failed} times in a row and is left alone for {self.rule.rest_s} s",
                    fix="ask again later; is it running?",
                )
            self.circuit = self.circuit.tried(now=self.now())
        try:
            found = act()
        except NotReady:
            self.remember(success=False)
            raise
        self.remember(success=True)
        return found

    def remember(self, *, success: bool) -> None:
        """A request has ended."""
        with self.lock:
            self.circuit = self.circuit.after(self.rule, success=success, now=self.now())
