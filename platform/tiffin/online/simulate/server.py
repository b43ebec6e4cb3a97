"""A model of the server: what a store's steps do to it, each whole, as its scripts and transactions are.

A row is `(event time, what wrote it)`; keys are words. Nothing here decides anything: the order of steps is the plans'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from tiffin.core.errors import Conflict
from tiffin.online.editions import Edition, LiveState
from tiffin.online.plan_steps import Difference
from tiffin.wire.keys import generation_token

__all__ = ["Row", "Server", "SimBatch"]

Row = tuple[int, str]
ALIEN: Row = (9, "alien")


@dataclass(frozen=True, slots=True)
class SimBatch:
    """Some rows by key."""

    items: tuple[tuple[str, Row], ...]

    def __len__(self) -> int:
        return len(self.items)

    def describe(self, difference: Difference) -> tuple[str, str]:
        """The key, and what was expected there."""
        key, row = self.items[difference.place]
        return key, repr(row)


def conflict(why: str) -> Conflict:
    """Somebody else was first."""
    return Conflict(why, fix="publish again")


@dataclass
class Server:
    """One server's words and rows.

    Args:
        rows: by generation token, then key.
        acknowledged: keys that a load was told are written, by token.
        registry: token → content digest, `applying ...`, or `retired`.
        lives: token → what its claim is called; another one each time it is claimed afresh.
        born: claims so far.
        version: counts every change of the state.
        manifests: of every edition that was ever live.
        changed: whether something was written since somebody looked.
        damage: what happens to the last row of the next write: `"lost"`, or `"alien"` bytes in its place.
    """

    state: LiveState | None = None
    pointer: bytes | None = None
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    registry: dict[str, str] = field(default_factory=dict)
    lives: dict[str, str] = field(default_factory=dict)
    born: int = 0
    version: int = 0
    manifests: set[str] = field(default_factory=set)
    changed: bool = False
    damage: str = ""

    def lose_everything(self) -> None:
        """A restart without persistence."""
        self.state, self.pointer = None, None
        self.rows, self.acknowledged, self.registry, self.lives = {}, {}, {}, {}
        self.version += 1
        self.changed = True

    def read_state(self) -> tuple[int, LiveState | None]:
        """The state, and which version of it that is."""
        return self.version, self.state

    def claim(self, edition: Edition, salt: int) -> Edition | None:
        """The edition under this salt's token, or None when another content has it."""
        token = token_of(edition.content, salt)
        if token not in self.registry:
            self.born += 1
            self.registry[token], self.lives[token] = edition.content, str(self.born)
        if self.registry[token] != edition.content:
            return None
        return edition.with_generation(token, life=self.lives[token])

    def guard(self, edition: Edition) -> None:
        """The claim still stands, and is no later one of the same content."""
        if self.registry.get(edition.generation) != edition.content or edition.life != self.lives.get(edition.generation):
            raise conflict("the new rows were collected")

    def load(self, edition: Edition, batch: SimBatch) -> None:
        self.guard(edition)
        known = self.acknowledged.setdefault(edition.generation, set())
        rows = self.rows.setdefault(edition.generation, {})
        self.changed = True
        new = [(key, row) for key, row in batch.items if key not in known]
        rows.update(new)
        known.update(key for key, _ in new)
        if new and self.damage == "lost":
            del rows[new[-1][0]]
        elif new and self.damage == "alien":
            rows[new[-1][0]] = ALIEN

    def count(self, edition: Edition) -> int:
        return len(self.acknowledged.get(edition.generation, ()))

    def held(self, edition: Edition, batch: SimBatch) -> list[Row | None]:
        rows = self.rows.get(edition.generation, {})
        return [rows.get(key) for key, _ in batch.items]

    def apply(self, edition: Edition, batch: SimBatch, expected: LiveState) -> int:
        """Each row unless a newer event time stands there."""
        if self.state != expected:
            raise conflict("another generation went live")
        rows = self.rows.setdefault(edition.generation, {})
        self.changed = True
        written = 0
        for key, row in batch.items[: -1 if self.damage else None]:
            old = rows.get(key)
            if old is None or old[0] <= row[0]:
                rows[key] = row
                written += 1
        return written

    def flip(self, edition: Edition, expected: LiveState | None) -> LiveState:
        new = LiveState(edition, None) if expected is None else expected.after(edition)
        if self.state not in (expected, new):
            raise conflict("another generation went live")
        if self.registry.get(edition.generation, "retired") == "retired" or edition.life != self.lives.get(edition.generation):
            raise conflict("the new rows were collected")
        if self.state != new:
            self.version += 1
        self.changed = True
        self.registry[edition.generation] = edition.mark
        self.state = new
        self.manifests.add(edition.manifest)
        self.pointer = edition.pointer().to_bytes()
        return new

    def tokens(self) -> list[str]:
        return list(self.registry)

    def retire(self, live: LiveState | None, token: str) -> bool:
        """Nobody may load into it any more; False when something else is live than the collector thinks."""
        if self.state != live:
            return False
        self.registry[token] = "retired"
        return True

    def unlink(self, token: str, key: str) -> int:
        """One row of a retired token; nothing when the token was forgotten meanwhile, and perhaps claimed again."""
        if self.registry.get(token) != "retired":
            return 0
        rows = self.rows.get(token, {})
        self.changed = True
        return 1 if rows.pop(key, None) is not None else 0

    def keys(self, token: str) -> list[str]:
        return list(self.rows.get(token, ()))

    def forget(self, token: str) -> None:
        if self.registry.get(token) == "retired":
            del self.registry[token]
            self.lives.pop(token, None)
            self.acknowledged.pop(token, None)
            self.rows.pop(token, None)

    def look(self, keys: Sequence[str], token: str) -> tuple[bytes | None, dict[str, Row]]:
        """The pointer and rows under a token, in one step."""
        rows = self.rows.get(token, {})
        return self.pointer, {key: rows[key] for key in keys if key in rows}


@lru_cache(maxsize=4096)
def token_of(content: str, salt: int) -> str:
    """As the real store names it: by content, so that a retry lands under the same token."""
    return generation_token(content, salt).decode()
