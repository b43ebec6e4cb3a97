"""The as-of join over Arrow tables: labels in, the same labels with feature columns out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.asof.kernel import NULL_KEY, pick
from tiffin.core.errors import Invalid, nearest

__all__ = ["INSTANT", "instants", "join", "key_codes", "times_us"]

EVENT_TIME, KNOWN_AT, WRITTEN_AT = "event_time", "known_at", "written_at"
INSTANT = pa.timestamp("us", tz="UTC")


def join(
    labels: pa.Table,
    rows: pa.Table,
    *,
    keys: Sequence[str],
    label_time: str,
    features: Sequence[str],
    ttl_us: int | None,
    rename: Callable[[str], str],
) -> pa.Table:
    """Add to each label the features of the row that it may see (`tiffin.asof.kernel.pick`).

    Args:
        labels: key columns, `label_time`, and whatever else is to be kept.
        rows: key columns, features, and `event_time`, `known_at`, `written_at` (timestamps with a zone).
        keys: key columns, of the same names on both sides; whole numbers of any width or text, which
            is compared in Unicode NFC. A key with a null part sees nothing.
        features: columns of `rows` to add; a null in them is a value like any other.
        ttl_us: µs from the chosen row's event time, or None.
        rename: feature column → its name in the result.

    Returns:
        `labels`, every row once and in order, and the renamed features; null where there is no row.

    Raises:
        Invalid: a column is missing, named twice, of a type that cannot be joined, or a time is null.
    """
    for side, table, needed in (
        ("labels", labels, (*keys, label_time)),
        ("feature rows", rows, (*keys, *features, EVENT_TIME, KNOWN_AT, WRITTEN_AT)),
    ):
        for name in needed:
            if name not in table.column_names:
                raise Invalid(f"as-of join: the {side} have no column {name!r}", fix=nearest(name, table.column_names))
    label_key, row_key = key_codes(labels, rows, keys)
    chosen = pick(
        label_key,
        times_us(labels, label_time),
        row_key,
        *(times_us(rows, name) for name in (EVENT_TIME, KNOWN_AT, WRITTEN_AT)),
        ttl_us=ttl_us,
    )
    index = pa.array(chosen, mask=chosen < 0)
    joined = labels
    for feature in features:
        name = rename(feature)
        if name in joined.column_names:
            raise Invalid(f"as-of join: there are two columns {name!r}", fix="rename the label's column or the feature")
        joined = joined.append_column(pa.field(name, rows.schema.field(feature).type), rows[feature].combine_chunks().take(index))
    return joined


def times_us(table: pa.Table, name: str) -> np.ndarray:
    """A timestamp column as `(rows,)` int64 µs UTC. Raises Invalid for nulls and for times without a zone."""
    column = instants(table, name)
    if column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py())
        raise Invalid(f"column {name!r} is null in row {row}", fix="drop rows without a time")
    micros: np.ndarray = column.cast(pa.int64()).combine_chunks().to_numpy(zero_copy_only=False)
    return micros


def instants(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column as timestamp[us, UTC], nulls allowed. Raises Invalid for times without a zone."""
    column = table[name]
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise Invalid(f"column {name!r} is {column.type}, which is no instant", fix="cast it to timestamp[us, tz=UTC]")
    try:
        return column.cast(INSTANT)
    except pa.ArrowInvalid as err:
        raise Invalid(f"column {name!r} does not fit µs: {err}", fix="round it to microseconds") from err


def key_codes(labels: pa.Table, rows: pa.Table, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Equal keys as equal small numbers on both sides, whatever their type and number of parts; null parts as -1.

    Returns:
        `(labels,)` and `(rows,)` int64.
    """
    if not keys:
        raise Invalid("as-of join: no key column is given", fix="name the entity's key columns")
    total = len(labels) + len(rows)
    codes, null = np.zeros(total, dtype=np.int64), np.zeros(total, dtype=bool)
    for name in keys:
        left, right = normal_key(labels[name], name), normal_key(rows[name], name)
        if left.type != right.type:
            found = f"{labels.schema.field(name).type} beside {rows.schema.field(name).type}"
            raise Invalid(f"as-of join: key {name!r} is {found}", fix="declare the key with the same type in the spine and in the entity")
        part = pa.chunked_array([*left.chunks, *right.chunks], type=left.type).combine_chunks().dictionary_encode()
        null |= part.is_null().to_numpy(zero_copy_only=False)
        numbers = part.indices.fill_null(0).to_numpy().astype(np.int64)
        # both factors are at most `total`, so the product fits int64; ranks keep it so for the next part
        mixed = codes * (len(part.dictionary) + 1) + numbers
        codes = mixed if len(keys) == 1 else np.unique(mixed, return_inverse=True)[1].astype(np.int64)
    codes[null] = NULL_KEY
    return codes[: len(labels)], codes[len(labels) :]


def normal_key(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """One form of a key column: int64, or text in Unicode NFC."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid as err:
            raise Invalid(f"key {name!r} does not fit int64: {err}", fix="use a key of at most 64 bits, or text") from err
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        text = column.cast(kind).cast(pa.large_string())
        return pc.utf8_normalize(text, form="NFC")
    raise Invalid(f"key {name!r} is {column.type}", fix="use a whole number or text as a key")
