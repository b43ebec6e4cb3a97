"""`RowSource` of a RocksDB folder: in the process that writes it, or in another that follows.

A follower opens the folder beside the writer and catches up before each read. The pointer is looked at before the rows and
after them, so a read never mixes generations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rocksdict import AccessType, Options, Rdict

from tiffin.core.errors import Corrupt, NotReady
from tiffin.online.source import Answer, Ask
from tiffin.online.views import LivePointer
from tiffin.wire.packed import join_rows

__all__ = ["RocksRows", "explained", "settings"]


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """RocksDB's errors in our words."""
    try:
        yield
    except Exception as err:
        # rocksdict raises plain Exception; ours pass
        if type(err) is not Exception:
            raise
        if "lock" in str(err).lower():
            raise NotReady(f"{doing}: another process writes there", fix="one process publishes to a folder; readers follow it") from err
        raise NotReady(f"{doing}: {err}", fix="is the disk full, or the folder damaged? a new folder is refilled from segments") from err


def settings() -> Options:
    """Raw bytes in, raw bytes out: nothing is ever unpickled."""
    return Options(raw_mode=True)


class RocksRows:
    """A reader's side. Threads may share it.

    Args:
        db: the writer's own, or one that follows it (`RocksRows.following`).
        catch_up: called before each read.
    """

    def __init__(self, db: Rdict, *, catch_up: Callable[[], None] = lambda: None) -> None:
        self.db: Any = db
        self.catch_up = catch_up

    @classmethod
    def following(cls, folder: Path, *, notes: Path) -> RocksRows:
        """Follow a writer of another process.

        Args:
            notes: a folder of this reader's own, for RocksDB's log.
        """
        with explained(f"following the online store {folder}"):
            db = Rdict(str(folder), settings(), access_type=AccessType.secondary(str(notes)))
        return cls(db, catch_up=db.try_catch_up_with_primary)

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        with explained("reading the online store's pointers"):
            self.catch_up()
            return list(self.db.get(list(names)))

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        with explained(f"reading {', '.join(ask.ref for ask in asks)}"):
            self.catch_up()
            return [answer(ask, self.db) for ask in asks]


def answer(ask: Ask, db: Any) -> Answer:
    """What stands for one view: rows between two looks at the pointer."""
    nothing = Answer(None, join_rows([]), np.zeros(len(ask.keys), dtype=np.bool_), steady=False)
    pointer: bytes | None = db.get(ask.pointer_key)
    if pointer is None or not live(ask, pointer):
        return replace(nothing, pointer=pointer)
    if ask.pointer.shards:
        raise Corrupt(f"view {ask.ref}: its pointer is one of a cluster", fix="publish the view again")
    keys = [key.tobytes() for key in ask.keys] if isinstance(ask.keys, np.ndarray) else ask.keys
    rows: list[bytes | None] = list(db.get([ask.prefix + key for key in keys]))
    after: bytes | None = db.get(ask.pointer_key)
    if after is None or not live(ask, after):
        return replace(nothing, pointer=after)
    present = np.fromiter((row is not None for row in rows), dtype=np.bool_, count=len(rows))
    return Answer(pointer, join_rows([row for row in rows if row is not None]), None if present.all() else present)


def live(ask: Ask, pointer: bytes) -> bool:
    """Whether a pointer names the generation that is asked for."""
    return LivePointer.from_bytes(pointer, name=ask.ref).generation == ask.pointer.generation
