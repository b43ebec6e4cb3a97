"""Content digests of tables: equal rows are equal digests, however they are ordered, chunked or encoded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Invalid

__all__ = ["EXCLUDED", "PARTITION", "content_digest", "content_digests", "plain"]

PARTITION = "partition"
EXCLUDED = (PARTITION, "written_at")
"""Where a row lies and when it was computed are not its content."""

FORMAT = "tiffin.content.v1"
SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def content_digest(table: pa.Table) -> str:
    """Digest of a table's rows as a set with repetition, its column names and types.

    Not part of the content: the order of rows and of columns, chunks, dictionaries, large or view
    variants of a type, `EXCLUDED` columns and NaN payloads. Everything else is: null, 0, -0.0 and
    NaN are four values.
    """
    return content_digests(table, by=None)[""]


def content_digests(table: pa.Table, *, by: str | None, groups: Sequence[str] = ()) -> dict[str, str]:
    """One digest per value of the string column `by`; `groups` adds values that have no rows.

    A group's digest is that of its rows alone: it does not depend on the other groups.

    Returns:
        digest by group, in the order of `groups` and then of the values; `{"": digest}` without `by`.
    """
    table = plain(table)
    codes, names = np.zeros(table.num_rows, np.int64), [""]
    if by is not None:
        encoded = table[by].combine_chunks().dictionary_encode()
        found = encoded.dictionary.to_pylist()
        names = list(dict.fromkeys([*groups, *sorted(found)]))
        place = {name: index for index, name in enumerate(names)}
        codes = np.array([place[name] for name in found], np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
    content = table.select(sorted(name for name in table.column_names if name not in EXCLUDED))
    header = canonical_json([FORMAT, [[field.name, str(field.type)] for field in content.schema]])

    cells = [cells_of(column.combine_chunks()) for column in content.columns]
    # the last key of lexsort is the first one to be compared
    order = np.lexsort([key for cell in reversed(cells) for key in (cell.rank, cell.valid)] + [codes])
    ordered = [cell.take(order) for cell in cells]
    ends = np.searchsorted(codes[order], np.arange(len(names)), side="right")
    digests, start = {}, 0
    for name, end in zip(names, ends.tolist(), strict=True):
        state = hashlib.sha256(header + (end - start).to_bytes(8, "little"))
        for cell in ordered:
            for part in cell.bytes_of(start, end):
                state.update(part)
        digests[name] = state.hexdigest()
        start = end
    return digests


def plain(table: pa.Table) -> pa.Table:
    """The same values in the types that a table stores: no dictionaries, large or view types.

    Raises:
        Invalid: a column has a type that is not stored; names it and what to cast it to.
    """
    fields = [pa.field(field.name, stored_type(field.name, field.type)) for field in table.schema]
    try:
        return table.cast(pa.schema(fields))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        raise Invalid(f"a column does not fit the type it is stored in: {err}", fix="cast timestamps to whole microseconds first") from err


def stored_type(name: str, kind: pa.DataType) -> pa.DataType:
    """What a column of type `kind` is stored as."""
    if pa.types.is_dictionary(kind):
        return stored_type(name, kind.value_type)
    if kind in SIGNED or kind in (pa.float32(), pa.float64(), pa.bool_(), pa.date32()):
        return kind
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            raise Invalid(
                f"column {name!r} is a timestamp without a time zone",
                fix="say which zone it is: pc.assume_timezone(column, 'UTC'), or the zone of the local clock",
            )
        return pa.timestamp("us", tz="UTC")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = stored_type(name, kind.value_type)
        if not (pa.types.is_list(item) or pa.types.is_string(item) or pa.types.is_binary(item)):
            return pa.list_(item)
    casts = {
        "int64": pa.types.is_unsigned_integer,
        "float32": pa.types.is_float16,
        "float64": pa.types.is_decimal,
        "the type it has with values": pa.types.is_null,
    }
    hint = next((target for target, holds in casts.items() if holds(kind)), None)
    raise Invalid(
        f"column {name!r} has type {kind}, which is not stored",
        fix=f"cast it to {hint}" if hint else "use integers, floats, bool, string, binary, date32, timestamp in UTC, or lists of numbers",
    )


@dataclass(frozen=True, slots=True)
class Cells:
    """One column, ready to be ordered and hashed.

    Args:
        valid: (rows,) bool.
        rank: (rows,) int64, ordered and distinguished as the values are; 0 where null.
        data: (rows,) fixed-width values as integers, or (bytes,) uint8 when `offsets` is given.
        offsets: (rows + 1,) int64 into `data`; None for fixed width.
    """

    valid: np.ndarray
    rank: np.ndarray
    data: np.ndarray
    offsets: np.ndarray | None = None

    def take(self, order: np.ndarray) -> Cells:
        """The column in another order of rows."""
        if self.offsets is None:
            return Cells(self.valid[order], self.rank[order], self.data[order])
        lengths = np.diff(self.offsets)[order]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        # position of each byte: its row's old start plus its place in the row
        source = np.repeat(self.offsets[:-1][order] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Cells(self.valid[order], self.rank[order], self.data[source], offsets)

    def bytes_of(self, start: int, end: int) -> list[bytes]:
        """What is hashed for rows `[start, end)`."""
        valid = np.packbits(self.valid[start:end]).tobytes()
        if self.offsets is None:
            return [valid, self.data[start:end].tobytes()]
        first, last = self.offsets[start], self.offsets[end]
        return [valid, np.diff(self.offsets[start : end + 1]).tobytes(), self.data[first:last].tobytes()]


def cells_of(array: pa.Array) -> Cells:
    """Bring one column of a plain table to bits that can be compared and hashed."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return ragged(valid, *bytes_and_offsets(array.cast(pa.large_string() if pa.types.is_string(kind) else pa.large_binary())))
    if pa.types.is_list(kind):
        items = cells_of(array.flatten())
        # a null item is not a zero: each item is hashed with its own valid byte
        packed = np.empty(len(items.data), np.dtype([("valid", "u1"), ("data", items.data.dtype)]))
        packed["valid"], packed["data"] = items.valid, items.data
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]) * packed.dtype.itemsize
        return ragged(valid, packed.view(np.uint8), offsets)
    bits = bits_of(array)
    return Cells(valid, bits.astype(np.int64), bits)


def bits_of(array: pa.Array) -> np.ndarray:
    """(rows,) signed integers with the value's bits; null is 0, every NaN is the same NaN."""
    kind = array.type
    if pa.types.is_floating(kind):
        floats: np.ndarray = array.fill_null(0.0).to_numpy(zero_copy_only=False)
        same = np.where(np.isnan(floats), np.array(np.nan, floats.dtype), floats)
        return same.view(np.int32 if kind == pa.float32() else np.int64)
    if pa.types.is_boolean(kind):
        flags: np.ndarray = array.fill_null(False).to_numpy(zero_copy_only=False)
        return flags.astype(np.int8)
    if pa.types.is_timestamp(kind):
        array = array.cast(pa.int64())
    elif pa.types.is_date(kind):
        array = array.cast(pa.int32())
    whole: np.ndarray = array.fill_null(0).to_numpy(zero_copy_only=False)
    return whole


def bytes_and_offsets(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Data bytes and int64 offsets from 0 of a large string or binary array; null is empty."""
    dense = pc.fill_null(array, "" if pa.types.is_large_string(array.type) else b"")
    _, ends, data = dense.buffers()
    count = len(dense)
    if count == 0:
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(ends, np.int64)[dense.offset : dense.offset + count + 1]
    content = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return content, offsets - offsets[0]


def ragged(valid: np.ndarray, data: np.ndarray, offsets: np.ndarray) -> Cells:
    """Rank byte strings by their order among all rows."""
    values = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(valid), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    encoded = values.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    rank = place[encoded.indices.to_numpy(zero_copy_only=False)] if len(valid) else np.zeros(0, np.int64)
    return Cells(valid, rank, data, offsets)
