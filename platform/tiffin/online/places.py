"""Where things of a view stand in a Redis server or cluster. Runs inside Triton.

A row's name is `team token (4) | generation token (4) | entity key`. A generation token begins with a capital, a view
token never does, so that no row can stand where a view keeps its words (`team token | view token | .word`). Short
names are memory: measured, one more byte here costs 16 B a row (docs/adr/0013).

On a cluster a hash tag stands behind the prefix, so that an ACL pattern on the prefix still holds: the words of a view
stand together at its home, its rows in shards, each of which has its own tag and its own copy of the registry.
"""

from __future__ import annotations

import binascii
import hashlib
import re
import string
from dataclasses import dataclass
from functools import lru_cache

from tiffin.core.errors import Invalid
from tiffin.wire.keys import owner_key, pointer_key, registry_key, row_prefix, schema_key, state_key, token

__all__ = ["SHARDS", "SLOTS", "Places", "Shard", "generation_token", "home_name", "rows_prefix", "shard_tags", "slot_of"]

SHARDS = 64
SLOTS = 16_384
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
TOKEN = re.compile(r"[A-Z][0-9A-Za-z]{3}")
OLD_TOKEN = re.compile(r"[a-z2-7]{6}")


def letters(number: int, length: int) -> str:
    """A number in base 62, lowest digit first."""
    found = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        found.append(ALPHABET[digit])
    return "".join(found)


def generation_token(view: str, content: str, salt: int = 0) -> str:
    """4 characters, from the content: a retry lands on the same rows.

    Two contents may share a token (1 of 6 million): the store gives the second another salt.

    Example:
        >>> generation_token("delays", "0" * 64)
        'Q8U3'
    """
    number = int.from_bytes(hashlib.sha256(f"{view} {content} {salt}".encode()).digest()[:8], "big")
    number, first = divmod(number, 26)
    return string.ascii_uppercase[first] + letters(number, 3)


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


def home_name(name: bytes) -> bytes:
    """What a word of a view is called on a cluster: all of one view hash alike.

    Example:
        >>> home_name(b"gae3abcd.pointer")
        b'gae3abcd{gae3abcd}.pointer'
    """
    return name[:8] + b"{" + name[:8] + b"}" + name[8:]


def slot_of(name: bytes) -> int:
    """The cluster's slot of a name: CRC-16 of its hash tag.

    Example:
        >>> slot_of(b"anything{user1000}.following"), slot_of(b"user1000"), slot_of(b"no{}tag")
        (3443, 3443, 12689)
    """
    start = name.find(b"{")
    end = name.find(b"}", start + 1)
    tagged = name[start + 1 : end] if start >= 0 and end > start + 1 else name
    return binascii.crc_hqx(tagged, 0) % SLOTS


@lru_cache(maxsize=1024)
def shard_tags(team: str, view: str, shards: int) -> tuple[bytes, ...]:
    """`{tag}` of every shard. The slots of a view are spread evenly, one in each of `shards` equal ranges, and other views'
    stand elsewhere in them. Part of the stored format.
    """
    found: list[bytes] = []
    for shard in range(shards):
        start = int.from_bytes(hashlib.sha256(f"{team}/{view} {shard}".encode()).digest()[:8], "big")
        tags = (b"{" + letters(start + salt, 3).encode() + b"}" for salt in range(62**3))
        found.append(next(tag for tag in tags if slot_of(tag) * shards // SLOTS == shard))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a generation's rows that stands together.

    Args:
        prefix: what the names of its rows begin with.
        registry: the hash that guards writes into it.
    """

    prefix: bytes
    registry: bytes

    @property
    def index(self) -> bytes:
        """The hash that lists its rows; no entity key begins with a dot."""
        return self.prefix + b".index"

    @property
    def whole(self) -> bytes:
        """The word that says that all its rows stand: a cluster may lose one shard alone."""
        return self.prefix + b".whole"


@dataclass(frozen=True, slots=True)
class Places:
    """The names of a view's words and rows.

    Args:
        shards: 0 on one server.
    """

    team: str
    view: str
    shards: int

    def at_home(self, name: bytes) -> bytes:
        """A word's name here."""
        return home_name(name) if self.shards else name

    @property
    def state(self) -> bytes:
        """The live state."""
        return self.at_home(state_key(self.team, self.view))

    @property
    def pointer(self) -> bytes:
        """What readers ask first."""
        return self.at_home(pointer_key(self.team, self.view))

    @property
    def registry(self) -> bytes:
        """Every generation that may have rows."""
        return self.at_home(registry_key(self.team, self.view))

    @property
    def probe(self) -> bytes:
        """Where the server is tried out."""
        return self.at_home(registry_key(self.team, self.view)[:8] + b".probe")

    @property
    def team_owner(self) -> bytes:
        """Whose team token this is."""
        return self.of_team(owner_key(self.team))

    @property
    def tokens(self) -> bytes:
        """Which view of the team has which generation token, for ever: a few bytes each."""
        return self.of_team(token(self.team) + b".tokens")

    def of_team(self, name: bytes) -> bytes:
        """The name of a word that all views of the team share."""
        return name[:4] + b"{" + name[:4] + b"}" + name[4:] if self.shards else name

    @property
    def owner(self) -> bytes:
        """Whose view token this is."""
        return self.at_home(owner_key(self.team, self.view))

    def schema(self, digest: str) -> bytes:
        """A row schema."""
        return self.at_home(schema_key(self.team, self.view, digest))

    def rows(self, generation: str) -> list[Shard]:
        """Where a generation's rows stand."""
        prefix = rows_prefix(self.team, self.view, generation)
        if not self.shards:
            return [Shard(prefix, self.registry)]
        plain = registry_key(self.team, self.view)
        return [Shard(prefix + tag, plain[:8] + tag + plain[8:]) for tag in shard_tags(self.team, self.view, self.shards)]
