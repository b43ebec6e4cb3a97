"""Where a reader's rows come from: the few questions it asks of a server, a cluster or a file, all of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tiffin.online.views import LivePointer
from tiffin.wire.rows import Packed

__all__ = ["Answer", "Ask", "AsyncRowSource", "Bytes", "KeyRows", "RowSource"]

Bytes = npt.NDArray[np.uint8]
KeyRows = Bytes | Sequence[bytes]
"""Entity keys: `(keys, width)` uint8 when all are of one length, else one `bytes` each."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One view's part of a request.

    Args:
        ref: `"team/view"`, for errors.
        pointer_key: where the view's pointer stands.
        pointer: the pointer as the reader knows it: generation and layout of the rows it asks for.
        prefix: what a row's key begins with in that generation.
        keys: each once.
    """

    ref: str
    pointer_key: bytes
    pointer: LivePointer
    prefix: bytes
    keys: KeyRows


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What stood in the server for one `Ask`.

    The promise of every source: `pointer` was read in the same step as the rows or before them, so that its watermark
    is honest; and when `steady`, no other generation went live until the rows were read, so that none of them
    had been collected.

    Args:
        pointer: its bytes; None when the view has none.
        rows: of the keys found, in the order asked: `(found, width)` uint8 (any strides), or `Packed` when they differ in length.
        present: `(asked,)` bool; None when every key was found.
        steady: False when the pointer moved meanwhile: the rows must not be used.
        reply_bytes: received for it, about.
        cached: of the keys asked for, how many a cache had; their rows are among `rows`.
    """

    pointer: bytes | None
    rows: Bytes | Packed
    present: npt.NDArray[np.bool_] | None = None
    steady: bool = True
    reply_bytes: int = 0
    cached: int = 0

    @property
    def asked(self) -> int:
        """How many keys it answers."""
        return len(self.rows) if self.present is None else len(self.present)


class RowSource(Protocol):
    """A reader's side of an online store; each call is one round trip.

    Raises (all methods):
        NotReady: no answer in time. Denied: this user may not. Corrupt: something of another type stands there.
    """

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        """The values of small words: pointers and schemas."""
        ...

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        """Pointer and rows of several views."""
        ...


class AsyncRowSource(Protocol):
    """`RowSource` for an event loop."""

    async def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        """As `RowSource.words`."""
        ...

    async def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        """As `RowSource.fetch`."""
        ...
