"""Tensors between client and steps, and from step to step. One exact form for each kind of column.

Request tensors are `(rows, 1)`, vectors `(rows, size)`. Text travels as BYTES; the single byte 0 is
null. A float's null is NaN. Whole numbers, booleans and instants have no null in a request.

Features go from step to step as one float64 matrix `_features` of all columns that hold one number
(NaN is null; integers beyond 2**53 round, exactly as they do in a training batch), and one tensor
per other column, named `_<column>`: a vector is float32 `(rows, size)` with NaN for null; text and
lists are BYTES that begin with a presence byte: `\\x00` for null, else `\\x01` and UTF-8 or
little-endian int64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiffin.core.errors import Invalid
from tiffin.wire.columns import Ragged, Values, join
from tiffin.wire.encodings import canonical, parse_encoding
from tiffin.wire.schema import Column

__all__ = [
    "MATRIX",
    "NULL_TEXT",
    "FeatureColumn",
    "RequestColumn",
    "decode_features",
    "decode_request",
    "encode_features",
    "request_bytes",
    "scalar",
    "text_column",
]

MATRIX = "_features"
NULL_TEXT = b"\x00"
ABSENT, PRESENT = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class RequestColumn:
    """An id or a request-time field, as the client sends it."""

    name: str
    role: str
    encoding: str
    nullable: bool

    @property
    def column(self) -> Column:
        """What `canonical` checks it against."""
        return Column(self.name, self.encoding, self.nullable)

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> RequestColumn:
        """From a step's configuration."""
        return cls(value["name"], value["role"], value["encoding"], value["nullable"])


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """A feature: its name in the batch, where it is read, how it is encoded."""

    name: str
    view: str
    column: str
    encoding: str

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> FeatureColumn:
        """From a step's configuration."""
        return cls(value["name"], value["view"], value["column"], value["encoding"])


def scalar(encoding: str) -> bool:
    """Whether a value of this encoding is one number."""
    return parse_encoding(encoding).kind not in ("str", "vec", "ints")


def request_bytes(arrays: Mapping[str, np.ndarray]) -> int:
    """Bytes of ids and fields in one request."""
    return sum(sum(map(len, array.ravel())) if array.dtype == np.object_ else array.nbytes for array in arrays.values())


def text_column(items: Sequence[bytes]) -> Ragged:
    """A string column from raw bytes; the single byte 0 is null. UTF-8 is checked by `canonical`."""
    valid = np.fromiter((item != NULL_TEXT for item in items), dtype=np.bool_, count=len(items))
    pieces = [item if item != NULL_TEXT else b"" for item in items]
    return join(pieces, None if valid.all() else valid)


def decode_request(columns: Sequence[RequestColumn], arrays: Mapping[str, np.ndarray]) -> dict[str, Values | Ragged]:
    """The client's columns in their declared encoding.

    Raises:
        Invalid: a value is outside its encoding; names field, row, value and what is allowed.
    """
    found: dict[str, Values | Ragged] = {}
    for field in columns:
        array = arrays[field.name]
        form = parse_encoding(field.encoding)
        values: Values | Ragged
        if form.kind == "str":
            values = text_column(array.ravel().tolist())
        elif form.kind == "vec":
            absent = np.isnan(array).all(axis=1)
            values = Values(array, None if not absent.any() else ~absent)
        else:
            values = Values(array.reshape(len(array)))
        # a key may be missing (it then names no entity), whatever the spine says
        column = Column(field.name, field.encoding, nullable=True) if field.role == "key" else field.column
        try:
            found[field.name] = canonical(column, values)
        except Invalid as err:
            fix = f"send {field.name!r} in its declared encoding {field.encoding!r}" + ("" if field.nullable else ", without nulls")
            raise Invalid(f"request field {field.name!r}: {err.message}", fix=fix) from err
    return found


def encode_features(columns: Sequence[FeatureColumn], batch: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """A batch's features as tensors.

    Args:
        batch: as `tiffin.wire.batch.from_wire` makes it.
    """
    numbers = [column for column in columns if scalar(column.encoding)]
    matrix = np.empty((rows, len(numbers)), dtype=np.float64)
    for place, column in enumerate(numbers):
        matrix[:, place] = batch[column.name]
    tensors: dict[str, np.ndarray] = {MATRIX: matrix} if numbers else {}
    for column in columns:
        if scalar(column.encoding):
            continue
        values = batch[column.name]
        kind = parse_encoding(column.encoding).kind
        if kind == "vec":
            tensors[f"_{column.name}"] = np.ascontiguousarray(values, dtype=np.float32)
        else:
            cells = np.empty((rows, 1), dtype=np.object_)
            cells[:, 0] = [pack_cell(kind, value) for value in values]
            tensors[f"_{column.name}"] = cells
    return tensors


def pack_cell(kind: str, value: Any) -> bytes:
    """Presence byte, then the value."""
    if value is None:
        return ABSENT
    return PRESENT + (value.encode() if kind == "str" else np.asarray(value, dtype="<i8").tobytes())


def unpack_cell(kind: str, cell: bytes) -> Any:
    """What `pack_cell` packed."""
    if cell == ABSENT:
        return None
    return cell[1:].decode() if kind == "str" else np.frombuffer(cell[1:], dtype="<i8").astype(np.int64)


def decode_features(columns: Sequence[FeatureColumn], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The batch that `encode_features` got, bit for bit."""
    batch: dict[str, np.ndarray] = {}
    place = 0
    for column in columns:
        kind = parse_encoding(column.encoding).kind
        if scalar(column.encoding):
            batch[column.name] = arrays[MATRIX][:, place]
            place += 1
        elif kind == "vec":
            batch[column.name] = arrays[f"_{column.name}"]
        else:
            cells = np.empty(len(arrays[f"_{column.name}"]), dtype=np.object_)
            for row, cell in enumerate(arrays[f"_{column.name}"].ravel()):
                cells[row] = unpack_cell(kind, cell)
            batch[column.name] = cells
    return batch
