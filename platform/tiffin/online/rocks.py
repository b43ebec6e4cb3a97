"""`OnlineStore` in a RocksDB folder: for large, cold views that need no server and little memory.

One process writes; readers are in `tiffin.online.rocks_rows`. The
names are those of a server, so a row is found by the same key; what a script does there, a lock and one atomic batch
of writes do here.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rocksdict import Rdict, WriteBatch, WriteOptions

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Conflict, Invalid, NotReady
from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows, batches, event_units
from tiffin.online.places import Places, Shard, generation_token
from tiffin.online.rocks_rows import RocksRows, explained, settings
from tiffin.online.row_index import batch_field, rows_of
from tiffin.online.store import Progress
from tiffin.wire.packed import join_rows

__all__ = ["RocksStore", "open_rocks"]

BATCH = 10_000
SALTS = 32


def open_rocks(folder: Path) -> RocksStore:
    """The publisher's side of a folder, which is made when it does not exist.

    Raises:
        NotReady: another process has it open.
    """
    with explained(f"opening the online store {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        return RocksStore(Rdict(str(folder), settings()))


class RocksStore:
    """The publisher's side; threads may share it.

    Args:
        db: opened for writing, in raw mode.
        batch: rows per atomic write.
    """

    def __init__(self, db: Rdict, *, batch: int = BATCH) -> None:
        self.db: Any = db
        self.batch = batch
        self.lock = threading.Lock()

    def close(self) -> None:
        """Let another process write."""
        self.db.close()

    def rows_source(self) -> RocksRows:
        """A reader in this process."""
        return RocksRows(self.db)

    def places(self, team: str, view: str) -> Places:
        """The names of a view's words, as on one server."""
        return Places(team, view, 0)

    def shard(self, edition: Edition) -> Shard:
        """Where an edition's rows stand."""
        return self.places(edition.team, edition.view).rows(edition.generation)[0]

    def write(self, puts: Sequence[tuple[bytes, bytes]], *, sync: bool = False) -> None:
        """All or nothing; `sync`: also when the machine loses power."""
        batch = WriteBatch(raw_mode=True)
        for name, value in puts:
            batch.put(name, value)
        options = WriteOptions()
        options.sync = sync
        self.db.write(batch, options)

    def state(self, team: str, view: str) -> LiveState | None:
        with explained(f"reading the state of {team}/{view}"):
            raw = self.db.get(self.places(team, view).state)
        return None if raw is None else LiveState.from_bytes(raw, name=f"{team}/{view}")

    def mark(self, edition: Edition) -> dict[str, str] | None:
        """What the registry says of a token."""
        raw = self.db.get(self.registered(edition))
        found: dict[str, str] | None = None if raw is None else json.loads(raw)
        return found

    def registered(self, edition: Edition) -> bytes:
        """The registry's entry of a token."""
        return self.places(edition.team, edition.view).registry + b"." + edition.generation.encode()

    def claim(self, edition: Edition) -> Edition:
        places = self.places(edition.team, edition.view)
        with explained(f"claiming a generation of {edition.ref}"), self.lock:
            for name, owner in ((places.team_owner, edition.team), (places.owner, edition.ref)):
                found = self.db.get(name)
                if found not in (None, owner.encode()):
                    raise Invalid(
                        f"view {edition.ref} cannot go online: its key token belongs to {found!r}", fix="rename the view or the team"
                    )
            for salt in range(SALTS):
                token = generation_token(edition.view, edition.content, salt)
                claimed = edition.with_generation(token, life=secrets.token_hex(8))
                holder = self.db.get(places.tokens + b"." + token.encode())
                mark = self.mark(claimed)
                if holder not in (None, edition.view.encode()) or (mark is not None and mark["mark"] != edition.content):
                    continue
                if mark is not None:
                    return edition.with_generation(token, life=mark["life"])
                entry = canonical_json({"mark": edition.content, "life": claimed.life})
                owners = [(places.team_owner, edition.team.encode()), (places.owner, edition.ref.encode())]
                self.write([*owners, (places.tokens + b"." + token.encode(), edition.view.encode()), (self.registered(claimed), entry)])
                return claimed
        raise NotReady(f"view {edition.ref} has no free generation token after {SALTS} tries", fix="collect it, then publish again")

    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        shard, done = self.shard(edition), 0
        with explained(f"loading {edition.ref}"):
            with self.lock:
                self.check(edition)
            for rows in batches(blocks, self.batch):
                field, done = shard.index + b"." + batch_field(done, rows), done + len(rows)
                pairs = zip((shard.prefix + key for key in rows.key_list()), rows.row_list(), strict=True)
                with self.lock:
                    self.check(edition)
                    if self.db.get(field) is None:
                        self.write([*pairs, (field, b"")])
                progress(done, total)

    def check(self, edition: Edition) -> None:
        """The token is still the edition's. Raises Conflict."""
        if self.mark(edition) != {"mark": edition.content, "life": edition.life}:
            raise overtaken(edition)

    def count(self, edition: Edition) -> int:
        with explained(f"counting rows of {edition.ref}"):
            return sum(rows_of(name) for name, _ in self.under(self.shard(edition).index + b"."))

    def under(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Everything whose name begins with `prefix`."""
        for name, value in self.db.items(from_key=prefix):
            if not name.startswith(prefix):
                return
            yield name, value

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        prefix = self.shard(edition).prefix
        with explained(f"reading rows of {edition.ref}"):
            return list(self.db.get([prefix + key for key in keys]))

    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        shard, written, done = self.shard(edition), 0, 0
        with explained(f"writing a delta of {edition.ref}"):
            for rows in batches(blocks, self.batch):
                names = [shard.prefix + key for key in rows.key_list()]
                with self.lock:
                    if self.state(edition.team, edition.view) != expected:
                        raise overtaken(edition)
                    found = self.db.get(names)
                    wins = newest(rows, found)
                    puts = [(name, row) for name, row, win in zip(names, rows.row_list(), wins, strict=True) if win]
                    added = sum(old is None for old in found)
                    if added:
                        puts.append((shard.index + b".delta %s+%d" % (secrets.token_hex(8).encode(), added), b""))
                    self.write(puts)
                written += sum(wins)
                done += len(rows)
                progress(done, total)
        return written

    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        places = self.places(edition.team, edition.view)
        new = LiveState(edition, None) if expected is None else expected.after(edition, forget=forget)
        with explained(f"making a generation of {edition.ref} live"), self.lock:
            if self.state(edition.team, edition.view) not in (expected, new):
                raise overtaken(edition)
            mark = self.mark(edition)
            if mark is None or mark["life"] != edition.life:
                raise overtaken(edition)
            words = [
                (self.registered(edition), canonical_json({"mark": edition.mark, "life": edition.life})),
                (places.schema(edition.schema.digest), canonical_json(edition.schema.to_json())),
                (places.state, new.to_bytes()),
                (places.pointer, edition.pointer().to_bytes()),
            ]
            self.write(words, sync=True)
        return new

    def collect(self, team: str, view: str, *, progress: Progress) -> int:
        live = self.state(team, view)
        if live is None:
            return 0
        kept = {edition.generation for edition in (live.current, live.previous) if edition is not None}
        removed = 0
        with explained(f"collecting {team}/{view}"):
            registry = self.places(team, view).registry + b"."
            for name, _ in list(self.under(registry)):
                token = name.removeprefix(registry).decode()
                if token not in kept:
                    removed += self.remove(live.current.with_generation(token), expected=live)
                    progress(removed, removed)
        return removed

    def discard(self, edition: Edition) -> int:
        live = self.state(edition.team, edition.view)
        if live is not None and edition.generation in {kept.generation for kept in (live.current, live.previous) if kept is not None}:
            return 0
        with explained(f"removing rows of {edition.ref}"):
            return self.remove(edition, expected=live)

    def remove(self, edition: Edition, *, expected: LiveState | None) -> int:
        """A generation's rows, index and token in one step, as a range: RocksDB frees the space when it compacts."""
        prefix = self.shard(edition).prefix
        with self.lock:
            if self.state(edition.team, edition.view) != expected:
                return 0  # another publisher is at work: it will collect
            removed = self.count(edition)
            batch = WriteBatch(raw_mode=True)
            batch.delete_range(prefix, after(prefix))
            batch.delete(self.registered(edition))
            self.db.write(batch)
        return removed


def after(prefix: bytes) -> bytes:
    """The first name behind all that begin with a prefix; prefixes end with a letter or digit."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def newest(rows: KeyedRows, found: Sequence[bytes | None]) -> list[bool]:
    """Which rows are written: unless a newer event time stands there."""
    present = np.fromiter((row is not None for row in found), dtype=np.bool_, count=len(found))
    old = np.full(len(found), -1, dtype=np.int64)
    old[present] = event_units(join_rows([row for row in found if row is not None]))
    wins: list[bool] = (old <= event_units(rows.rows)).tolist()
    return wins


def overtaken(edition: Edition) -> Conflict:
    """Something else happened to the view."""
    return Conflict(
        f"view {edition.ref}: another generation went live, or its new rows were removed, while it was published",
        fix="publish again: it starts from what is live now",
        context={"view": edition.ref, "manifest": edition.manifest},
    )
