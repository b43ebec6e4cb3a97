"""The smallest store that keeps the online store's contract, in one dictionary; subclasses break one rule each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tiffin.core.errors import Conflict
from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows, batches
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
    life: str = "1"

    def state(self, team: str, view: str) -> LiveState | None:
        return self.states.get(f"{team}/{view}")

    def claim(self, edition: Edition) -> Edition:
        known = self.claimed.setdefault(edition.ref, {})
        for token, content in known.items():
            if content == edition.content:
                return edition.with_generation(token, life=self.life)
        self.counter += 1
        token = f"G{self.counter:03d}"
        known[token] = edition.content
        return edition.with_generation(token, life=self.life)

    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        done = 0
        for rows in batches(blocks, self.batch):
            if not self.stands(edition) or self.claimed[edition.ref].get(edition.generation) != edition.content:
                raise Conflict("collected", fix="publish again")
            for key, row in zip(rows.key_list(), rows.row_list(), strict=True):
                self.held[edition.ref, edition.generation, key] = row
            done += len(rows)
            progress(done, total)

    def stands(self, edition: Edition) -> bool:
        return edition.life == self.life and edition.generation in self.claimed.get(edition.ref, {})

    def count(self, edition: Edition) -> int:
        return sum(place[:2] == (edition.ref, edition.generation) for place in self.held)

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self.held.get((edition.ref, edition.generation, key)) for key in keys]

    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        if self.states.get(edition.ref) != expected:
            raise Conflict("moved", fix="publish again")
        written = 0
        for rows in blocks:
            for key, row in zip(rows.key_list(), rows.row_list(), strict=True):
                place = (edition.ref, edition.generation, key)
                if place not in self.held or self.wins(row, self.held[place]):
                    self.held[place] = row
                    written += 1
        progress(total, total)
        return written

    def wins(self, new: bytes, old: bytes) -> bool:
        return time_of(new) >= time_of(old)

    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        new = LiveState(edition, None) if expected is None else expected.after(edition, forget=forget)
        if self.states.get(edition.ref) not in (expected, new):
            raise Conflict("moved", fix="publish again")
        if not self.stands(edition):
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

    def discard(self, edition: Edition) -> int:
        live = self.state(edition.team, edition.view)
        if live is not None and edition.generation in self.kept(live):
            return 0
        gone = [place for place in self.held if place[:2] == (edition.ref, edition.generation)]
        for place in gone:
            del self.held[place]
        self.claimed[edition.ref].pop(edition.generation, None)
        return len(gone)
