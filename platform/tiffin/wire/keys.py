"""Entity keys: the same bytes from Spark, Arrow and Triton, and the prefixes under which rows stand.

A key is its parts, each with a tag of its type: `s` + UTF-8 in NFC, or `b h i q` + the whole number, big-endian with
its sign bit turned, so that keys sort like their values. In every string byte 0 is written `00 ff`, and a
string that is not the last part ends with `00`: two keys of one entity never share bytes.

A row's key in the server is `team token (4) | view token (4) | generation (6) | entity key`; the tokens and the
generation are of `a-z2-7`, so that an ACL pattern means what it says. What else a view keeps there has a dot where the
generation would begin.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.key_parts import WHOLE, Part, encode_texts, encode_whole, join_parts
from tiffin.wire.packed import Packed, split_rows

__all__ = [
    "GENERATION_LENGTH",
    "encode_keys",
    "generation_token",
    "owner_key",
    "pack_keys",
    "pointer_key",
    "registry_key",
    "row_prefix",
    "schema_key",
    "state_key",
    "token",
]

GENERATION_LENGTH = 6
GENERATION = re.compile(rb"[a-z2-7]{6}")


# names are few and asked for with every request: 20 µs each time otherwise
@lru_cache(maxsize=4096)
def safe_hash(text: str, length: int) -> bytes:
    """The first characters of a sha256 in base32, lower case."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest())[:length].lower()


def token(name: str) -> bytes:
    """4 safe characters for a team or a view; part of the stored format.

    Two names may share a token (some 1,200 names make that likely): the store refuses the second.

    Example:
        >>> token("network")
        b'gae3'
    """
    return safe_hash(name, 4)


def generation_token(content: str, salt: int = 0) -> bytes:
    """6 safe characters for a generation, from its content: a retry lands on the same keys."""
    return safe_hash(f"{content} {salt}", GENERATION_LENGTH)


def view_prefix(team: str, view: str) -> bytes:
    """All that a view keeps in the server begins with this; the view's token depends on the name alone."""
    return token(team) + token(view)


def row_prefix(team: str, view: str, generation: bytes) -> bytes:
    """Rows of one generation begin with this."""
    if not GENERATION.fullmatch(generation):
        raise Invalid(f"generation {generation!r} is not 6 characters of a-z2-7", fix="use tiffin.wire.keys.generation_token")
    return view_prefix(team, view) + generation


def pointer_key(team: str, view: str) -> bytes:
    """The small word that a reader asks first: which generation is live."""
    return view_prefix(team, view) + b".pointer"


def state_key(team: str, view: str) -> bytes:
    """What the publisher needs beyond the pointer: live and previous edition, in full."""
    return view_prefix(team, view) + b".state"


def registry_key(team: str, view: str) -> bytes:
    """Every generation that may have rows, with its content: what the collection works through."""
    return view_prefix(team, view) + b".generations"


def schema_key(team: str, view: str, digest: str) -> bytes:
    """The row schema of this digest, for a reader that was configured with another."""
    return view_prefix(team, view) + b".schema." + digest[:16].encode()


def owner_key(team: str, view: str | None = None) -> bytes:
    """Who owns a team token, or a view token under it: its full name."""
    return (token(team) if view is None else view_prefix(team, view)) + b".owner"


def encode_keys(fields: Sequence[tuple[str, str]], columns: Mapping[str, Part]) -> tuple[list[bytes], npt.NDArray[np.bool_]]:
    """Key bytes of every row, and whether the row has a key at all.

    Args:
        fields: `(name, type)` of each part, in the entity's order.
        columns: at least these names; text, bytes (UTF-8), whole numbers, `Values` or `Ragged`; each `(rows,)`.

    Returns:
        `(rows,)` keys (`b""` where a part is null) and `(rows,)` bool.

    Raises:
        Invalid: a part is missing, of the wrong type or out of range; names part and row.

    Example:
        >>> encode_keys([("carrier", "string"), ("day", "int8")], {"carrier": ["UA", None], "day": [1, 2]})[0]
        [b'sUA\\x00b\\x81', b'']
    """
    packed, valid = pack_keys(fields, columns)
    keys = split_rows(packed)
    if not valid.all():
        for row in np.flatnonzero(~valid).tolist():
            keys[row] = b""
    return keys, valid


def pack_keys(fields: Sequence[tuple[str, str]], columns: Mapping[str, Part]) -> tuple[Packed, npt.NDArray[np.bool_]]:
    """The same as one buffer; `Packed.matrix` is `(rows, width)` when all keys have one width, as whole numbers always do.

    Where a part is null, `valid` is False and the bytes mean nothing.

    Raises:
        Invalid: as `encode_keys`.
    """
    parts: list[tuple[Packed, npt.NDArray[np.bool_] | None]] = []
    for position, (name, kind) in enumerate(fields):
        if name not in columns:
            raise Invalid(f"key part {name!r} is missing", fix=nearest(name, columns))
        if kind == "string":
            parts.append(encode_texts(name, columns[name], last=position == len(fields) - 1))
        elif kind in WHOLE:
            parts.append(encode_whole(name, kind, columns[name]))
        else:
            raise Invalid(f"key part {name!r} has type {kind!r}", fix=nearest(kind, ["string", *WHOLE]))
    if not parts:
        raise Invalid("an entity key needs at least one part", fix="declare Entity(..., key='id: string')")
    rows = len(parts[0][0])
    for (name, _), (part, _) in zip(fields, parts, strict=True):
        if len(part) != rows:
            raise Invalid(f"key part {name!r} has {len(part)} rows, {fields[0][0]!r} has {rows}", fix="give every part one value per row")
    return join_parts(parts)
