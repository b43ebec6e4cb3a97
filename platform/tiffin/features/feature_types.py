"""Feature types: the encoding is part of the type, and a value has one form everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, model_validator

from tiffin.core.errors import Invalid
from tiffin.core.spec import Spec
from tiffin.wire.vocabularies import vocabulary_text

__all__ = [
    "Bool",
    "Category",
    "FeatureType",
    "Float16",
    "Float32",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "IntList",
    "String",
    "Timestamp",
    "Vector",
]

INT_BITS = (8, 16, 32, 64)


class FeatureType(Spec):
    """What a feature's values are and how many bits they take.

    Properties: `encoding` (text form for the wire), `arrow` (type in offline tables),
    `triton` (datatype of a request-time field).
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__(None, **fields)

    @property
    def encoding(self) -> str:
        raise Invalid(f"{type(self).__name__} is not a concrete feature type", fix="use Float32(), Int16(), String(), ...")

    @property
    def arrow(self) -> pa.DataType:
        raise Invalid(f"{type(self).__name__} is not a concrete feature type", fix="use Float32(), Int16(), String(), ...")


class Float32(FeatureType):
    """A 32-bit float, or with `step` a whole multiple of it stored as a small integer.

    With `step`, a value is brought to `float32(round_half_even(x / step) * step)`. `low` and `high`
    bound the values and choose the narrowest integer; a value outside is refused.
    """

    step: float | None = Field(default=None, gt=0, description="distance between two stored values")
    low: float | None = Field(default=None, description="smallest value, with step")
    high: float | None = Field(default=None, description="largest value, with step")

    @model_validator(mode="after")
    def bounds_need_a_step(self) -> Float32:
        if self.step is None and (self.low is not None or self.high is not None):
            raise ValueError("low and high need a step")
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    @property
    def encoding(self) -> str:
        if self.step is None:
            return "f32"
        if self.low is None or self.high is None:
            return f"step:{self.step!r}:i32"
        reach = max(abs(round(self.low / self.step)), abs(round(self.high / self.step)))
        width = next((bits for bits in INT_BITS[:3] if reach < 2 ** (bits - 1)), None)
        if width is None:
            span = f"Float32(step={self.step}) cannot reach {self.low}..{self.high} in 32 bits"
            raise Invalid(span, fix="use a larger step or Float32()")
        return f"step:{self.step!r}:i{width}"

    @property
    def arrow(self) -> pa.DataType:
        return pa.float32()


class Float16(FeatureType):
    """A half float; offline it is a float32 that a half can hold exactly."""

    @property
    def encoding(self) -> str:
        return "f16"

    @property
    def arrow(self) -> pa.DataType:
        return pa.float32()


class Int8(FeatureType):
    """A whole number of 8 bits."""

    @property
    def encoding(self) -> str:
        return "i8"

    @property
    def arrow(self) -> pa.DataType:
        return pa.int8()


class Int16(FeatureType):
    """A whole number of 16 bits."""

    @property
    def encoding(self) -> str:
        return "i16"

    @property
    def arrow(self) -> pa.DataType:
        return pa.int16()


class Int32(FeatureType):
    """A whole number of 32 bits."""

    @property
    def encoding(self) -> str:
        return "i32"

    @property
    def arrow(self) -> pa.DataType:
        return pa.int32()


class Int64(FeatureType):
    """A whole number of 64 bits."""

    @property
    def encoding(self) -> str:
        return "i64"

    @property
    def arrow(self) -> pa.DataType:
        return pa.int64()


class Bool(FeatureType):
    """True or false; one bit online."""

    @property
    def encoding(self) -> str:
        return "bool"

    @property
    def arrow(self) -> pa.DataType:
        return pa.bool_()


class Timestamp(FeatureType):
    """An instant: UTC, µs."""

    @property
    def encoding(self) -> str:
        return "ts"

    @property
    def arrow(self) -> pa.DataType:
        return pa.timestamp("us", tz="UTC")


class String(FeatureType):
    """Text in Unicode NFC, at most `max_bytes` of UTF-8; a longer value is refused.

    With `compress`, a value is deflated online where that makes it shorter (long, repetitive text); it costs one byte otherwise.
    """

    max_bytes: int = Field(default=256, ge=1, le=32_000, description="longest value in UTF-8 bytes")
    compress: bool = Field(default=False, description="deflate a value online where that makes it shorter")

    @property
    def encoding(self) -> str:
        return f"str:{self.max_bytes}{':zip' if self.compress else ''}"

    @property
    def arrow(self) -> pa.DataType:
        return pa.string()


class Category(FeatureType):
    """Text out of a declared vocabulary, one or two bytes online; a value outside it is refused.

    `Category(("AA", "UA"))`. Words are brought to Unicode NFC. The order is stored: add new words at the end, so that rows of the old
    schema can still be read under the new one.
    """

    vocabulary: tuple[str, ...] = Field(description="all values that it may take, at most 65,535")

    @model_validator(mode="after")
    def vocabulary_is_sound(self) -> Category:
        vocabulary_text(self.vocabulary)
        return self

    def __init__(self, vocabulary: Sequence[str] | None = None, **fields: Any) -> None:
        if isinstance(vocabulary, str):
            raise Invalid(f"Category({vocabulary!r}) is one text: expected a sequence of words", fix=f"write Category(({vocabulary!r},))")
        super().__init__(**({"vocabulary": tuple(vocabulary)} if vocabulary is not None else {}), **fields)

    @property
    def encoding(self) -> str:
        return f"cat:{vocabulary_text(self.vocabulary)}"

    @property
    def arrow(self) -> pa.DataType:
        return pa.string()


class Vector(FeatureType):
    """An embedding of `size` numbers, stored as float32, float16, or int8 with one scale per row."""

    size: int = Field(ge=1, le=8_192, description="numbers per row")
    storage: Literal["float32", "float16", "int8"] = Field(default="float32", description="stored form")

    def __init__(self, size: int | None = None, storage: str = "float32", **fields: Any) -> None:
        super().__init__(**({"size": size} if size is not None else {}), storage=storage, **fields)

    @property
    def encoding(self) -> str:
        return f"vec:{self.size}:{ {'float32': 'f32', 'float16': 'f16', 'int8': 'i8'}[self.storage] }"

    @property
    def arrow(self) -> pa.DataType:
        return pa.list_(pa.float32())


class IntList(FeatureType):
    """A list of whole numbers, at most `max_length` of them; varint online, and with `compress` deflated where that is shorter."""

    max_length: int = Field(default=100, ge=1, le=10_000, description="longest list")
    compress: bool = Field(default=False, description="deflate a list online where that makes it shorter")

    @property
    def encoding(self) -> str:
        return f"ints:{self.max_length}{':zip' if self.compress else ''}"

    @property
    def arrow(self) -> pa.DataType:
        return pa.list_(pa.int64())
