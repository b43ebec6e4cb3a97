"""The published layout `xxhash32`, to read from and to write: one hash per entity, a field per feature.

A field is the name's 32-bit xxHash (4 bytes), its value decimal text ("0" for zero), text for a string; a null has no field.
Vectors and lists are not read: there they are somebody's protobuf. It has no event times, no check and no generations: it is
a place to come from (`tiffin features migrate`), or to keep for a client that has not moved yet.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tiffin.core.errors import Corrupt, Invalid, Unsupported, nearest
from tiffin.features.name_hashes import name_hashes
from tiffin.online.redis import Client, translated
from tiffin.wire.columns import to_strings
from tiffin.wire.encodings import Ragged, Values, canonical, parse_encoding, strings
from tiffin.wire.schema import Column, RowSchema

__all__ = ["PublishedLayout", "read_published", "write_published"]

WHOLE = ("int8", "int16", "int32", "int64")
Columns = dict[str, Values | Ragged]


@dataclass(frozen=True)
class PublishedLayout:
    """How one view stands in it.

    Args:
        schema: its columns; numbers, booleans, instants and strings.
        fields: `(name, type)` of each key part.
        template: of an entity's key, e.g. `"carrier:{carrier}:{origin}"`; two parts need text between them.

    Raises:
        Invalid: two names hash alike, or the template does not tell entities apart.
        Unsupported: a column is a vector or a list.

    Example:
        >>> layout = PublishedLayout(RowSchema(1, (Column("delay", "f32"),)), (("carrier", "string"),), "c:{carrier}")
        >>> layout.entity_keys({"carrier": ["UA"]}), layout.parts(b"c:UA"), layout.pattern
        ([b'c:UA'], {'carrier': 'UA'}, 'c:*')
    """

    schema: RowSchema
    fields: tuple[tuple[str, str], ...]
    template: str
    hashes: list[bytes] = field(init=False)
    form: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        for column in self.schema.columns:
            kind = parse_encoding(column.encoding).kind
            if kind in ("vec", "ints"):
                raise Unsupported(
                    f"column {column.name!r} ({column.encoding[:20]}) has no decimal text in the layout 'xxhash32'",
                    fix="migrate a view of its scalar columns, and publish the others from their table",
                )
        object.__setattr__(self, "hashes", list(name_hashes([column.name for column in self.schema.columns])))
        object.__setattr__(self, "form", self.compiled())

    @property
    def pieces(self) -> list[tuple[str, str | None]]:
        """Text and the key part behind it; the last part may be missing."""
        try:
            return [(text, name) for text, name, _, _ in string.Formatter().parse(self.template)]
        except ValueError as err:
            raise Invalid(f"key template {self.template!r} is not readable: {err}", fix="write it like 'carrier:{carrier}'") from err

    def compiled(self) -> re.Pattern[str]:
        """What a key looks like."""
        types, expected = dict(self.fields), [name for name, _ in self.fields]
        named = [name for _, name in self.pieces if name is not None]
        if sorted(named) != sorted(expected):
            unknown = next((name for name in named if name not in types), None)
            hint = nearest(unknown, expected) if unknown is not None else f"name each of {', '.join(expected)} once"
            raise Invalid(f"key template {self.template!r} does not name the key parts {', '.join(expected)} once each", fix=hint)
        for (_, before), (text, _) in zip(self.pieces, self.pieces[1:], strict=False):
            if before is not None and not text:
                raise Invalid(f"key template {self.template!r} has nothing between two parts", fix="they could not be told apart")
        parts = [
            re.escape(text) + (f"(?P<{name}>{'-?[0-9]+' if types[name] in WHOLE else '.+?'})" if name else "") for text, name in self.pieces
        ]
        return re.compile("".join(parts), re.DOTALL)

    @property
    def pattern(self) -> str:
        """For SCAN: every key that may be one of the view's."""
        return "".join(re.sub(r"([*?\[\]\\])", r"\\\1", text) + ("*" if name else "") for text, name in self.pieces)

    def parts(self, key: bytes) -> dict[str, Any] | None:
        """The key parts of an entity's key; None: it is another view's."""
        try:
            match = self.form.fullmatch(key.decode())
        except UnicodeDecodeError:
            return None
        if match is None:
            return None
        return {name: int(match[name]) if kind in WHOLE else match[name] for name, kind in self.fields}

    def entity_keys(self, parts: Mapping[str, Sequence[Any]]) -> list[bytes]:
        """The keys of entities, `(rows,)` of each part."""
        names = [name for name, _ in self.fields]
        rows = zip(*(parts[name] for name in names), strict=True)
        return [self.template.format(**dict(zip(names, row, strict=True))).encode() for row in rows]

    def encode(self, columns: Mapping[str, Values | Ragged]) -> list[dict[bytes, bytes]]:
        """Fields of every row; a null has none."""
        texts = [column_texts(column, canonical(column, columns[column.name])) for column in self.schema.columns]
        return [{short: text for short, text in zip(self.hashes, row, strict=True) if text is not None} for row in zip(*texts, strict=True)]

    def decode(self, rows: Sequence[Sequence[bytes | None]]) -> Columns:
        """Columns from the values of `hashes`, one sequence a row.

        Raises:
            Corrupt: a value is no text of its type; names feature, row and value. Invalid: it is outside its encoding.
        """
        found: Columns = {}
        for place, column in enumerate(self.schema.columns):
            found[column.name] = canonical(column, column_values(column, [row[place] for row in rows]))
        return found


def column_texts(column: Column, values: Values | Ragged) -> list[bytes | None]:
    """Decimal text of a canonical column: the shortest that reads back as the same bits."""
    if isinstance(values, Ragged):
        return [None if text is None else text.encode() for text in to_strings(values)]
    if values.data.dtype.kind == "f":
        texts: list[bytes | None] = [np.format_float_positional(number, unique=True, trim="-").encode() for number in values.data]
    else:
        texts = [b"%d" % number for number in values.data.tolist()]
    return texts if values.valid is None else [text if valid else None for text, valid in zip(texts, values.valid.tolist(), strict=True)]


def column_values(column: Column, texts: Sequence[bytes | None]) -> Values | Ragged:
    """A column from its texts."""
    form = parse_encoding(column.encoding)
    valid = np.fromiter((text is not None for text in texts), dtype=np.bool_, count=len(texts))
    row = 0
    try:
        if form.kind == "str":
            return strings([None if text is None else text.decode() for text in texts])
        whole = form.dtype.kind in "iub"
        numbers = np.zeros(len(texts), dtype=np.int64 if whole else np.float64)
        for row, text in enumerate(texts):
            if text is not None:
                numbers[row] = int(text) if whole else float(text)
    except (ValueError, OverflowError) as err:
        raise Corrupt(
            f"feature {column.name!r}, row {row}: {texts[row]!r} is no {column.encoding}",
            fix="correct it at its source, or declare the type that it has",
            context={"feature": column.name, "row": row},
        ) from err
    if form.kind == "bool":
        if not np.isin(numbers, (0, 1)).all():
            raise Corrupt(f"feature {column.name!r}: a value is neither 0 nor 1", fix="declare the type that it has")
        return Values(numbers.astype(np.bool_), valid)
    return Values(numbers if whole else numbers.astype(np.float32), valid)


def read_published(client: Client, layout: PublishedLayout, keys: Sequence[bytes]) -> list[list[bytes | None]]:
    """The values of every entity, in the order of the layout's columns."""
    with translated("reading the layout 'xxhash32'"):
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hmget(key, layout.hashes)
        found: list[list[bytes | None]] = pipe.execute()
    return found


def write_published(client: Client, layout: PublishedLayout, keys: Sequence[bytes], columns: Mapping[str, Values | Ragged]) -> None:
    """Replace entities, each in one step: a feature that became null has no field afterwards."""
    with translated("writing the layout 'xxhash32'"):
        pipe = client.pipeline(transaction=True)
        for key, row in zip(keys, layout.encode(columns), strict=True):
            pipe.unlink(key)
            if row:
                pipe.hset(key, items=[item for pair in row.items() for item in pair])
        pipe.execute()
