"""Between Arrow columns and columns of the wire: types are checked here, values in `wire.encodings`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.core.errors import Invalid
from tiffin.wire.encodings import Ragged, Values, parse_encoding
from tiffin.wire.schema import Column

__all__ = ["to_arrow", "to_values"]


def to_values(array: pa.Array | pa.ChunkedArray, column: Column) -> Values | Ragged:
    """An Arrow column as the wire takes it, not yet canonical; see `wire.encodings.canonical`.

    Whole numbers may have any width (a SQL `sum` is a decimal without a fraction), floats may be
    double or half, text and lists may be large, view, dictionary or fixed-size variants. Nothing is
    rounded here, and no time without a zone is taken for UTC.

    Args:
        array: (rows,) values of one feature.
        column: its name and encoding.

    Raises:
        Invalid: the Arrow type cannot hold such values; names column, found and allowed types.
    """
    dense = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_dictionary(dense.type):
        dense = dense.dictionary_decode()
    kind = parse_encoding(column.encoding).kind
    if pa.types.is_null(dense.type):
        dense = dense.cast(EMPTY[kind])  # SQL's untyped NULL
    return READERS[kind](dense, column)


def to_arrow(values: Values | Ragged, kind: pa.DataType) -> pa.Array:
    """A canonical column as an Arrow array of the feature's type (`FeatureType.arrow`)."""
    mask = None if values.valid is None else ~values.valid
    if isinstance(values, Ragged):
        offsets = pa.array(values.offsets, pa.int32())
        # a validity bitmap built by Arrow, so that nulls need no copy of the data
        validity = None if mask is None else pa.array(np.zeros(len(values), np.int8), mask=mask).buffers()[0]
        if pa.types.is_string(kind):
            buffers = [validity, offsets.buffers()[1], pa.py_buffer(np.ascontiguousarray(values.data))]
            return pa.StringArray.from_buffers(len(values), buffers[1], buffers[2], validity)
        items = pa.array(values.data, pa.int64())
        return pa.Array.from_buffers(kind, len(values), [validity, offsets.buffers()[1]], children=[items])
    if values.data.ndim == 2:
        rows, size = values.data.shape
        validity = None if mask is None else pa.array(np.zeros(rows, np.int8), mask=mask).buffers()[0]
        # a null vector has no numbers
        lengths = np.full(rows, size, np.int64) if values.valid is None else np.where(values.valid, size, 0)
        offsets = pa.array(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), pa.int32())
        items = pa.array((values.data if values.valid is None else values.data[values.valid]).reshape(-1), pa.float32())
        return pa.Array.from_buffers(kind, rows, [validity, offsets.buffers()[1]], children=[items])
    if pa.types.is_timestamp(kind):
        return pa.array(values.data, pa.int64(), mask=mask).cast(kind)
    return pa.array(values.data, kind, mask=mask)


def refuse(column: Column, found: pa.DataType, allowed: str, fix: str) -> Invalid:
    """The Arrow type is wrong."""
    return Invalid(
        f"column {column.name!r} holds {found}: expected {allowed} for {column.encoding!r}",
        fix=fix,
        context={"column": column.name, "found": str(found), "allowed": allowed},
    )


def valid_of(array: pa.Array) -> np.ndarray | None:
    """(rows,) bool, or None when no row is null."""
    return None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)


def whole_numbers(array: pa.Array, column: Column) -> Values:
    """Integers of any width, or decimals without a fraction."""
    kind = array.type
    if pa.types.is_decimal(kind) and kind.scale == 0:
        try:
            array = array.cast(pa.int64())
        except pa.ArrowInvalid as err:
            raise refuse(column, kind, "whole numbers of at most 64 bits", "divide or clip it in the transform") from err
    elif not pa.types.is_integer(kind):
        fix = f"round and cast it in the transform: pc.round({column.name}).cast('int64'), or round(...)::bigint in SQL"
        raise refuse(column, kind, "whole numbers", fix)
    return Values(array.fill_null(0).to_numpy(zero_copy_only=False), valid_of(array))


def real_numbers(array: pa.Array, column: Column) -> Values:
    """Floats as they are; whole numbers and decimals as float64."""
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        array = pc.cast(array, pa.float64(), safe=False)
    elif not pa.types.is_floating(kind):
        raise refuse(column, kind, "numbers", "cast it to float32 in the transform")
    return Values(array.fill_null(0).to_numpy(zero_copy_only=False), valid_of(array))


def flags(array: pa.Array, column: Column) -> Values:
    """Booleans."""
    if not pa.types.is_boolean(array.type):
        raise refuse(column, array.type, "bool", "compare or cast it to bool in the transform")
    return Values(array.fill_null(False).to_numpy(zero_copy_only=False), valid_of(array))


def instants(array: pa.Array, column: Column) -> Values:
    """Timestamps with a zone, whole microseconds."""
    kind = array.type
    if not pa.types.is_timestamp(kind):
        raise refuse(column, kind, "timestamp[us, tz=UTC]", "cast it in the transform")
    if kind.tz is None:
        raise refuse(column, kind, "timestamp[us, tz=UTC]", "say its zone: pc.assume_timezone(...), or `AT TIME ZONE 'UTC'` in SQL")
    try:
        whole = array.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    except pa.ArrowInvalid as err:
        raise refuse(column, kind, "whole microseconds", "round it to microseconds in the transform") from err
    return Values(whole.fill_null(0).to_numpy(zero_copy_only=False), valid_of(array))


def text(array: pa.Array, column: Column) -> Ragged:
    """Strings of every Arrow variant."""
    kind = array.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise refuse(column, kind, "text", "cast it to string in the transform")
    valid = valid_of(array)
    dense = array.cast(pa.large_string()).fill_null("")
    rows = len(dense)
    if rows == 0:
        return Ragged(np.zeros(1, np.int64), np.zeros(0, np.uint8), None)
    _, ends, data = dense.buffers()
    offsets = np.frombuffer(ends, np.int64)[dense.offset : dense.offset + rows + 1]
    content = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
    return Ragged(offsets - offsets[0], content, valid)


def list_items(array: pa.Array, column: Column, allowed: str) -> tuple[np.ndarray, pa.Array]:
    """Lengths (0 where null) and the flat items of a list column; a null item is refused."""
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise refuse(column, kind, allowed, "return a list per row, e.g. pa.list_(pa.float32())")
    items = array.flatten()
    if items.null_count:
        raise Invalid(f"column {column.name!r} has a list with a null in it: expected {allowed}", fix="fill it or drop it in the transform")
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths, items


def vectors(array: pa.Array, column: Column) -> Values:
    """Lists of numbers, each of the declared size; null rows are zeros under the mask."""
    size = parse_encoding(column.encoding).size
    lengths, items = list_items(array, column, f"lists of {size} numbers")
    numbers = real_numbers(items, column).data
    valid = valid_of(array)
    present = np.ones(len(array), np.bool_) if valid is None else valid
    wrong = np.flatnonzero(present & (lengths != size))
    if len(wrong):
        row = int(wrong[0])
        raise Invalid(
            f"column {column.name!r}, row {row}: vector has {lengths[row]} numbers: expected {size}",
            fix=f"return {size} numbers per row, or declare Vector({lengths[row]})",
            context={"column": column.name, "row": row},
        )
    data = np.zeros((len(array), size), numbers.dtype)
    data[present] = numbers.reshape(-1, size)
    return Values(data, valid)


def whole_lists(array: pa.Array, column: Column) -> Ragged:
    """Lists of whole numbers."""
    lengths, items = list_items(array, column, "lists of whole numbers")
    numbers = whole_numbers(items, column).data
    return Ragged(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]), numbers, valid_of(array))


READERS: dict[str, Callable[[pa.Array, Column], Values | Ragged]] = {
    "int": whole_numbers,
    "float": real_numbers,
    "step": real_numbers,
    "bool": flags,
    "ts": instants,
    "str": text,
    "vec": vectors,
    "ints": whole_lists,
}
EMPTY: dict[str, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "step": pa.float64(),
    "bool": pa.bool_(),
    "ts": pa.timestamp("us", tz="UTC"),
    "str": pa.string(),
    "vec": pa.list_(pa.float32()),
    "ints": pa.list_(pa.int64()),
}
