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
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.columns import Ragged, Values, to_strings

__all__ = [
    "GENERATION_LENGTH",
    "encode_keys",
    "generation_token",
    "owner_key",
    "pointer_key",
    "registry_key",
    "row_prefix",
    "schema_key",
    "state_key",
    "token",
]

GENERATION_LENGTH = 6
GENERATION = re.compile(rb"[a-z2-7]{6}")
WHOLE = {"int8": (b"b", 8), "int16": (b"h", 16), "int32": (b"i", 32), "int64": (b"q", 64)}

Part = Sequence[Any] | npt.NDArray[Any] | Values | Ragged


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
    parts: list[list[bytes | None]] = []
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
    rows = len(parts[0])
    for (name, _), part in zip(fields, parts, strict=True):
        if len(part) != rows:
            raise Invalid(f"key part {name!r} has {len(part)} rows, {fields[0][0]!r} has {rows}", fix="give every part one value per row")
    valid = np.ones(rows, dtype=np.bool_)
    for part in parts:
        if None in part:
            valid &= np.fromiter((piece is not None for piece in part), dtype=np.bool_, count=rows)
    if len(parts) == 1:
        return [piece or b"" for piece in parts[0]], valid
    return [b"".join(row) if alive else b"" for row, alive in zip(zip(*parts, strict=True), valid.tolist(), strict=True)], valid


def encode_texts(name: str, given: Part, *, last: bool) -> list[bytes | None]:
    """A string part: tag, NFC, escaped zero bytes, end mark."""
    if isinstance(given, Values):
        raise Invalid(f"key part {name!r} holds {given.data.dtype.name}: expected text", fix="cast it to string")
    items: Sequence[Any] = to_strings(given) if isinstance(given, Ragged) else given.tolist() if isinstance(given, np.ndarray) else given
    ending = b"" if last else b"\0"
    found: list[bytes | None] = []
    for row, item in enumerate(items):
        if item is None:
            found.append(None)
            continue
        try:
            text = item.decode() if isinstance(item, bytes) else item
            plain = text.encode() if text.isascii() else unicodedata.normalize("NFC", text).encode()
        except (UnicodeError, AttributeError, TypeError) as err:
            raise Invalid(
                f"key part {name!r}, row {row}: value {item!r} is not allowed: expected text in UTF-8",
                fix="decode or cast it before",
                context={"part": name, "row": row},
            ) from err
        found.append(b"s" + plain.replace(b"\0", b"\0\xff") + ending)
    return found


def encode_whole(name: str, kind: str, given: Part) -> list[bytes | None]:
    """A whole-number part: tag and big-endian bytes, sign bit turned."""
    tag, bits = WHOLE[kind]
    numbers, valid = whole_numbers(name, kind, given)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    if numbers.size:
        bad = ((numbers < low) | (numbers > high)) & valid
        if bad.any():
            row = int(np.argmax(bad))
            raise Invalid(
                f"key part {name!r}, row {row}: value {int(numbers[row])} is not allowed: expected {low}..{high} ({kind})",
                fix="declare a wider key type, or correct the value",
                context={"part": name, "row": row},
            )
    turned = (numbers.astype(np.int64).view(np.uint64) ^ np.uint64(1 << (bits - 1))).astype(">u8").tobytes()
    width, step = bits // 8, 8
    found: list[bytes | None] = [tag + turned[at + step - width : at + step] for at in range(0, len(turned), step)]
    for row in np.flatnonzero(~valid).tolist():
        found[row] = None
    return found


def whole_numbers(name: str, kind: str, given: Part) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Numbers and which of them are there; None is null, anything but a whole number is refused."""
    if isinstance(given, Values):
        numbers, valid = np.asarray(given.data), given.valid
    elif isinstance(given, np.ndarray) and given.dtype != object:
        numbers, valid = given, None
    else:
        items = list(given) if not isinstance(given, Ragged) else [None]
        for row, item in enumerate(items):
            if item is not None and (isinstance(item, bool | np.bool_) or not isinstance(item, int | np.integer)):
                raise Invalid(
                    f"key part {name!r}, row {row}: value {item!r} is not allowed: expected a whole number ({kind})",
                    fix="cast it before",
                    context={"part": name, "row": row},
                )
        valid = np.fromiter((item is not None for item in items), dtype=np.bool_, count=len(items))
        numbers = np.array([0 if item is None else int(item) for item in items], dtype=object if len(items) else np.int64)
    if numbers.dtype.kind not in "iuO" or numbers.ndim != 1:
        raise Invalid(f"key part {name!r} holds {numbers.dtype.name} {numbers.shape}: expected (rows,) {kind}", fix=f"cast it to {kind}")
    return numbers, np.ones(len(numbers), dtype=np.bool_) if valid is None else valid
