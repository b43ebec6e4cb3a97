"""The online store contract: load rows beside the live ones, then move one word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tiffin.online.editions import Edition, LiveState

__all__ = ["OnlineStore", "Progress"]

Progress = Callable[[int, int], None]


class OnlineStore(Protocol):
    """A server that holds packed rows by generation. Implementation: `RedisStore`.

    Whatever is interrupted may simply be done again. Two publishers may overlap: at most one of
    them wins, the other gets Conflict, and no reader sees a mixture.

    Raises (all methods):
        NotReady: the server does not answer or is full (retryable). Denied: this user may not.
    """

    def state(self, team: str, view: str) -> LiveState | None:
        """What is live; None when nothing is, as on an empty server."""
        ...

    def claim(self, edition: Edition) -> Edition:
        """Reserve a generation token for the edition's content; the same content gets the same one again.

        Raises:
            Invalid: the team's or the view's token belongs to another name.
        """
        ...

    def load(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes], *, progress: Progress) -> None:
        """Write rows under the edition's token, where no reader looks yet.

        Raises:
            Conflict: the token was collected meanwhile; publish again.
        """
        ...

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows that the server holds under the edition's token."""
        ...

    def apply(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes], *, expected: LiveState, progress: Progress) -> int:
        """Write a delta's rows into the live generation, each unless a newer event time stands there.

        An equal event time is replaced: the later manifest wins. Returns how many rows were written.

        Raises:
            Conflict: something else than `expected` is live.
        """
        ...

    def flip(self, edition: Edition, *, expected: LiveState | None) -> LiveState:
        """Make the edition live, in one step for all readers. Doing it again is harmless.

        Raises:
            Conflict: something else than `expected` is live, or the edition's rows were collected.
        """
        ...

    def collect(self, team: str, view: str, *, progress: Progress) -> int:
        """Remove the rows of every generation but the live and the previous one; returns how many."""
        ...
