"""The index of a generation: the names of its rows, written with them, so that they can be removed without a scan.

One hash a generation; a field is one batch, called `<what>+<rows>`, its value is `codec u8 | names`. Codec 0: `length u32 |
name` of each. Codec 1: zlib over `width u32 | keys`, the keys' bytes column by column, each as its step from the one
before: rows are sorted, so a name costs a fraction of a byte. Codec 2: `first u32 | end u32 | step u32`, the numbers of
buckets. Codec 3: codec 0, zipped.
"""

from __future__ import annotations

import zlib

import numpy as np

from tiffin.core.errors import Corrupt
from tiffin.online.dense import bucket_name
from tiffin.online.keyed_rows import KeyedRows
from tiffin.wire.packed import split_rows

__all__ = ["NO_ROWS", "all_buckets", "batch_field", "indexed", "names_of", "rows_of"]

PLAIN, COLUMNS, BUCKETS, ZIPPED = b"\0", b"\1", b"\2", b"\3"
NO_ROWS = PLAIN


def batch_field(start: int, rows: KeyedRows) -> bytes:
    """What a batch of a load is called: equal rows at the same place are the same batch."""
    check = zlib.crc32(np.ascontiguousarray(rows.rows.data).data, zlib.crc32(np.ascontiguousarray(rows.keys.data).data))
    return b"load %d %08x+%d" % (start, check, len(rows))


def rows_of(field: bytes) -> int:
    """How many rows a batch holds, from its name."""
    _, _, count = field.rpartition(b"+")
    return int(count) if count.isdigit() else 0


def indexed(prefix: bytes, rows: KeyedRows) -> bytes:
    """The value of a batch's field."""
    matrix = rows.keys.matrix
    if matrix is None:
        names = [prefix + key for key in split_rows(rows.keys)]
        return ZIPPED + zlib.compress(b"".join(len(name).to_bytes(4, "little") + name for name in names))
    steps = np.diff(matrix.T, axis=1, prepend=np.uint8(0))
    return COLUMNS + zlib.compress(matrix.shape[1].to_bytes(4, "little") + steps.tobytes())


def all_buckets(first: int, end: int, step: int) -> bytes:
    """The value that lists every `step`-th bucket from `first` to before `end`."""
    return BUCKETS + b"".join(number.to_bytes(4, "little") for number in (first, end, step))


def names_of(prefix: bytes, value: bytes, *, view: str) -> list[bytes]:
    """The names in a batch's value.

    Raises:
        Corrupt: it is none.
    """
    try:
        if value[:1] == COLUMNS:
            raw = zlib.decompress(value[1:])
            width = int.from_bytes(raw[:4], "little")
            steps = np.frombuffer(raw, dtype=np.uint8, offset=4).reshape(width, -1)
            joined = np.cumsum(steps, axis=1, dtype=np.uint8).T.tobytes()
            return [prefix + joined[at : at + width] for at in range(0, len(joined), width)]
        if value[:1] == BUCKETS and len(value) == 13:
            first, end, step = (int.from_bytes(value[at : at + 4], "little") for at in (1, 5, 9))
            return [bucket_name(prefix, number) for number in range(first, end, step)]
        if value[:1] == ZIPPED:
            value = PLAIN + zlib.decompress(value[1:])
        found, at = [], 1
        while value[:1] == PLAIN and at < len(value):
            size = int.from_bytes(value[at : at + 4], "little")
            found.append(value[at + 4 : at + 4 + size])
            at += 4 + size
    except (ValueError, zlib.error) as err:
        raise broken(view, value) from err
    if at != len(value) or value[:1] != PLAIN or not all(name.startswith(prefix) for name in found):
        raise broken(view, value)
    return found


def broken(view: str, value: bytes) -> Corrupt:
    """The index is not ours; the rows that it listed can no longer be found by it."""
    return Corrupt(
        f"view {view}: an index of its rows in the online store is not one of ours: {value[:32]!r}",
        fix="find who else writes there; a platform user can remove the rows by their prefix",
        context={"view": view},
    )
