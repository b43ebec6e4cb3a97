"""The smallest store that keeps the online store's contract, in one dictionary; subclasses break one rule each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tiffin.core.errors import Conflict
from tiffin.online.editions import Edition, LiveState
from tiffin.online.store import Progress


def time_of(row: bytes) -> int:
    return int.from_bytes(row[2:6], "little")


@dataclass
class MemoryOnlineStore:
    """Rows by (view, generation, key)."""

    held: dict[tuple[str, str, bytes], bytes] = field(default_factory=dict)
    states: dict[str, LiveState] = field(default_factory=dict)
    claimed: dict[str, dict[str, str]] = field(default_factory=dict)
    batch: int = 1000
    counter: int = 0

    def state(self, team: str, view: str) -> LiveState | None:
        return self.states.get(f"{team}/{view}")

    def claim(self, edition: Edition) -> Edition:
        known = self.claimed.setdefault(edition.ref, {})
        for token, content in known.items():
            if content == edition.content:
                return edition.with_generation(token)
        self.counter += 1
        token = f"g{self.counter:05d}".translate(str.maketrans("0189", "abcd"))
        known[token] = edition.content
        return edition.with_generation(token)

    def load(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes], *, progress: Progress) -> None:
        for start in range(0, len(keys), self.batch):
            if self.claimed.get(edition.ref, {}).get(edition.generation) != edition.content:
                raise Conflict("collected", fix="publish again")
            for key, row in zip(keys[start : start + self.batch], rows[start : start + self.batch], strict=True):
                self.held[edition.ref, edition.generation, key] = row
            progress(min(start + self.batch, len(keys)), len(keys))

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.held.get((edition.ref, edition.generation, key)) for key in keys]

    def apply(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes], *, expected: LiveState, progress: Progress) -> int:
        if self.states.get(edition.ref) != expected:
            raise Conflict("moved", fix="publish again")
        written = 0
        for key, row in zip(keys, rows, strict=True):
            place = (edition.ref, edition.generation, key)
            if place not in self.held or self.wins(row, self.held[place]):
                self.held[place] = row
                written += 1
        progress(len(keys), len(keys))
        return written

    def wins(self, new: bytes, old: bytes) -> bool:
        return time_of(new) >= time_of(old)

    def flip(self, edition: Edition, *, expected: LiveState | None) -> LiveState:
        new = LiveState(edition, None) if expected is None else expected.after(edition)
        if self.states.get(edition.ref) not in (expected, new):
            raise Conflict("moved", fix="publish again")
        if edition.generation not in self.claimed.get(edition.ref, {}):
            raise Conflict("collected", fix="publish again")
        self.claimed[edition.ref][edition.generation] = edition.mark
        self.states[edition.ref] = new
        return new

    def kept(self, live: LiveState) -> set[str]:
        return {edition.generation for edition in (live.current, live.previous) if edition is not None}

    def collect(self, team: str, view: str, *, progress: Progress) -> int:
        live = self.state(team, view)
        if live is None:
            return 0
        known = self.claimed[live.current.ref]
        dead = [token for token in known if token not in self.kept(live)]
        gone = [place for place in self.held if place[0] == live.current.ref and place[1] in dead]
        for place in gone:
            del self.held[place]
        for token in dead:
            del known[token]
        return len(gone)
