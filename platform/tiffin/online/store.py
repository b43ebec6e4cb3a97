"""The online store contract: load rows beside the live ones, then move one word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows

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

        The edition comes back with its place: token, the server's life, shards.

        Raises:
            Invalid: the team's or the view's token belongs to another name.
        """
        ...

    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        """Write rows under the edition's token, where no reader looks yet.

        What an interrupted load of the same rows in the same order left behind is not sent again. The server may drop rows
        of a view with a time to live, but only an hour after they expired and were written.

        Args:
            blocks: rows with distinct keys; they are drawn as they are needed.
            total: how many rows they will be, for `progress`.

        Raises:
            Conflict: the token was collected meanwhile, or the server emptied; no row is left behind. Publish again.
        """
        ...

    def count(self, edition: Edition) -> int:
        """How many rows under the edition's token the server has acknowledged, without looking at them."""
        ...

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows that the server holds under the edition's token."""
        ...

    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        """Write a delta's rows into the live generation, each unless a newer event time stands there.

        An equal event time is replaced: the later manifest wins. Returns how many rows were written.

        Raises:
            Conflict: something else than `expected` is live.
        """
        ...

    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        """Make the edition live, in one step for all readers. Doing it again is harmless.

        Args:
            forget: keep no previous generation; the next collection removes its rows.

        Raises:
            Conflict: something else than `expected` is live, or the edition's rows were collected, or were claimed
                before the server was last emptied.
        """
        ...

    def collect(self, team: str, view: str, *, progress: Progress) -> int:
        """Remove the rows of every generation but the live and the previous one; returns how many."""
        ...

    def discard(self, edition: Edition) -> int:
        """Remove the rows of a claimed edition that never went live, and its token; returns how many.

        What the store remembers of an unfinished load goes too: the next attempt writes every row. The live and the
        previous generation are left alone.
        """
        ...
