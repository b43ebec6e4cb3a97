"""Requests as a server reads them (RESP), a whole batch of rows at a time and without a Python object per row."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt

from tiffin.online.keyed_rows import KeyedRows
from tiffin.wire.packed import Packed

__all__ = ["bulks", "command", "fields", "header", "pairs", "sets_until", "word"]

Bytes = npt.NDArray[np.uint8]
MS_DIGITS = 13
END = b"\r\n"


def header(words: int) -> bytes:
    """How every command begins: the number of its words."""
    return b"*%d\r\n" % words


def word(data: bytes) -> bytes:
    """One word."""
    return b"$%d\r\n%b\r\n" % (len(data), data)


def command(*words: bytes) -> bytes:
    """A whole command."""
    return header(len(words)) + b"".join(map(word, words))


def row(*columns: bytes | Bytes) -> bytes:
    """Rows side by side: bytes are the same in every row, a matrix has one line for each."""
    count = next(len(column) for column in columns if isinstance(column, np.ndarray))
    widths = [column.shape[1] if isinstance(column, np.ndarray) else len(column) for column in columns]
    made = np.empty((count, sum(widths)), dtype=np.uint8)
    at = 0
    for column, width in zip(columns, widths, strict=True):
        made[:, at : at + width] = column if isinstance(column, np.ndarray) else np.frombuffer(column, dtype=np.uint8)
        at += width
    return made.tobytes()


def pieces(packed: Packed) -> list[bytes]:
    """Items of differing length, one by one."""
    raw = packed.data.tobytes()
    return [raw[start:end] for start, end in itertools.pairwise(packed.offsets.tolist())]


def bulks(prefix: bytes, items: Packed) -> bytes:
    """`prefix + item` of every item, as words one after the other."""
    matrix = items.matrix
    if matrix is not None:
        return row(b"$%d\r\n" % (len(prefix) + matrix.shape[1]) + prefix, matrix, END)
    return b"".join(b"$%d\r\n%b%b\r\n" % (len(prefix) + len(item), prefix, item) for item in pieces(items))


def pairs(prefix: bytes, rows: KeyedRows) -> bytes:
    """`prefix + key`, row, for every row: the words of an MSET."""
    keys, values = rows.keys.matrix, rows.rows.matrix
    if keys is not None and values is not None:
        return row(b"$%d\r\n" % (len(prefix) + keys.shape[1]) + prefix, keys, b"\r\n$%d\r\n" % values.shape[1], values, END)
    items = zip(pieces(rows.keys), pieces(rows.rows), strict=True)
    return b"".join(b"$%d\r\n%b%b\r\n$%d\r\n%b\r\n" % (len(prefix) + len(key), prefix, key, len(value), value) for key, value in items)


def digits(milliseconds: npt.NDArray[np.int64]) -> Bytes:
    """`(rows, 13)` decimal digits of instants in ms since 1970: 13 from 2001 to 2286, zeros in front before that."""
    powers = 10 ** np.arange(MS_DIGITS - 1, -1, -1, dtype=np.int64)
    return (milliseconds[:, None] // powers % 10 + ord("0")).astype(np.uint8)


def sets_until(prefix: bytes, rows: KeyedRows, expires_ms: npt.NDArray[np.int64]) -> bytes:
    """A `SET ... PXAT` for every row: many commands.

    Args:
        expires_ms: `(rows,)`, positive, below 10**13.
    """
    stamps = digits(expires_ms)
    keys, values = rows.keys.matrix, rows.rows.matrix
    begin, until = b"*5\r\n$3\r\nSET\r\n", b"\r\n$4\r\nPXAT\r\n$%d\r\n" % MS_DIGITS
    if keys is not None and values is not None:
        name = b"$%d\r\n" % (len(prefix) + keys.shape[1]) + prefix
        return row(begin + name, keys, b"\r\n$%d\r\n" % values.shape[1], values, until, stamps, END)
    items = zip(pieces(rows.keys), pieces(rows.rows), stamps, strict=True)
    return b"".join(
        b"%b$%d\r\n%b%b\r\n$%d\r\n%b%b%b\r\n" % (begin, len(prefix) + len(key), prefix, key, len(value), value, until, stamp.tobytes())
        for key, value, stamp in items
    )


def fields(prefix: bytes, buckets: Bytes, rows: KeyedRows) -> bytes:
    """An `HSET bucket key row` for every row: many commands.

    Args:
        buckets: `(rows, 4)`, what stands behind the prefix in the bucket's name.
    """
    begin = b"*4\r\n$4\r\nHSET\r\n$%d\r\n" % (len(prefix) + buckets.shape[1]) + prefix
    keys, values = rows.keys.matrix, rows.rows.matrix
    if keys is not None and values is not None:
        return row(begin, buckets, b"\r\n$%d\r\n" % keys.shape[1], keys, b"\r\n$%d\r\n" % values.shape[1], values, END)
    items = zip(buckets, pieces(rows.keys), pieces(rows.rows), strict=True)
    return b"".join(
        b"%b%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (begin, bucket.tobytes(), len(key), key, len(value), value) for bucket, key, value in items
    )
