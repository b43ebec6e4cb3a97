"""Where things of a view stand in a Redis server or cluster. Runs inside Triton: no numpy needed, nothing heavier allowed.

A row's name is `team token (4) | generation token (4) | entity key`. A generation token begins with a capital, a view
token never does, so that no row can stand where a view keeps its words (`team token | view token | .word`). Short
names are memory: measured, one more byte here costs 16 B a row (docs/adr/0013).

On a cluster every name carries a hash tag behind its prefix, so that an ACL pattern on the prefix still holds: words stand
at the view's home, rows at one of its shards.
"""

from __future__ import annotations

import hashlib
import re
import string

from tiffin.core.errors import Invalid
from tiffin.wire.keys import row_prefix, token

__all__ = ["generation_token", "index_name", "rows_prefix", "tokens_key"]

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
TOKEN = re.compile(r"[A-Z][0-9A-Za-z]{3}")
OLD_TOKEN = re.compile(r"[a-z2-7]{6}")


def generation_token(view: str, content: str, salt: int = 0) -> str:
    """4 characters, from the content: a retry lands on the same rows.

    Two contents may share a token (1 of 6 million): the store gives the second another salt.

    Example:
        >>> generation_token("delays", "0" * 64)
        'XhVY'
    """
    number = int.from_bytes(hashlib.sha256(f"{view} {content} {salt}".encode()).digest()[:8], "big")
    number, first = divmod(number, 26)
    letters = [string.ascii_uppercase[first]]
    for _ in range(3):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return "".join(letters)


def rows_prefix(team: str, view: str, generation: str) -> bytes:
    """What the names of a generation's rows begin with; 6-letter tokens are those of the first format.

    Raises:
        Invalid: this is no generation token.
    """
    if TOKEN.fullmatch(generation):
        return token(team) + generation.encode()
    if OLD_TOKEN.fullmatch(generation):
        return row_prefix(team, view, generation.encode())
    raise Invalid(f"generation {generation!r} is not a generation token", fix="publish the view again")


def index_name(prefix: bytes) -> bytes:
    """The hash that lists the rows under a prefix; no entity key begins with a dot."""
    return prefix + b".index"


def tokens_key(team: str) -> bytes:
    """Which view of the team has which generation token."""
    return token(team) + b".tokens"
