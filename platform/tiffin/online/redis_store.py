"""`OnlineStore` on a Redis or Valkey server, or on a cluster of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Conflict, Invalid, NotReady
from tiffin.online.editions import Edition, LiveState
from tiffin.online.eviction import refuse_eviction
from tiffin.online.guarded_load import Batch
from tiffin.online.keyed_rows import KeyedRows, batches
from tiffin.online.places import Places, Shard, generation_token
from tiffin.online.redis import Client, NoScriptError, held, translated
from tiffin.online.requests import command, header, word
from tiffin.online.retries import Retries
from tiffin.online.row_index import batch_field, rows_of
from tiffin.online.row_layouts import layout_of, probe
from tiffin.online.row_removal import Removal
from tiffin.online.scripts import CLAIM, CLAIM_SHARD, FLIP, OWN, READY, VANISH
from tiffin.online.servers import OneServer, Servers, await_copies
from tiffin.online.store import Progress
from tiffin.wire.packed import join_rows

__all__ = ["RedisStore"]

# 1,000 rows keep the server from its readers for 1 to 3 ms.
BATCH = 1000
PAUSE_S = 0.001
SALTS = 32


def wall_us() -> int:
    """The wall."""
    return time.time_ns() // 1000


class RedisStore:
    """The publisher's side; its user may write and script its own team's keys.

    Args:
        servers: a client from `tiffin.online.redis.connect`, or a cluster.
        batch: rows per transaction or script: the longest that a server is kept from its readers.
        pause_s: between two steps of a collection.
        retries: when a connection is lost; a cluster brings its own.
        now_us: the wall in µs, by which the server drops rows of views with a time to live.
    """

    def __init__(
        self,
        servers: Client | Servers,
        *,
        batch: int = BATCH,
        pause_s: float = PAUSE_S,
        retries: Retries | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        self.servers: Servers = OneServer(servers, retries=retries or Retries()) if isinstance(servers, Client) else servers
        self.now_us = now_us
        self.batch = batch
        self.pause_s = pause_s

    def places(self, team: str, view: str) -> Places:
        """Where a view's words stand."""
        return Places(team, view, self.servers.shards)

    def run(self, script: str, keys: Sequence[bytes], args: Sequence[bytes | str | int]) -> Any:
        """One script at the server of its first key."""
        return self.servers.at(keys[0], lambda client: client.register_script(script)(keys=list(keys), args=list(args)))

    def state(self, team: str, view: str) -> LiveState | None:
        places = self.places(team, view)
        with translated(f"reading the state of {team}/{view}"):
            raw: Any = self.servers.at(places.state, lambda client: client.get(places.state))
            live = LiveState.from_bytes(raw, name=f"{team}/{view}") if raw is not None else None
            if live is None or self.whole(live.current):
                return live
            self.run(VANISH, [places.state, places.pointer], [raw])
        return self.state(team, view)

    def whole(self, edition: Edition) -> bool:
        """Whether every shard of a live generation stands; one server has lost all or nothing."""
        if not edition.shards:
            return True
        shards = self.shards(edition)
        marks = self.servers.ask([(shard.whole, command(b"GET", shard.whole)) for shard in shards])
        return marks == [edition.life.encode()] * len(shards)

    def shards(self, edition: Edition) -> list[Shard]:
        """Where an edition's rows stand."""
        return Places(edition.team, edition.view, edition.shards).rows(edition.generation)

    def claim(self, edition: Edition) -> Edition:
        team, view, content = edition.team, edition.view, edition.content
        places = self.places(team, view)
        with translated(f"looking at the memory of the store of {edition.ref}"):
            memory: Any = self.servers.at(places.registry, lambda client: client.info("memory"))
        refuse_eviction(memory, view=edition.ref)
        if edition.buckets:
            with translated(f"trying out the layout of {edition.ref}"):
                self.servers.at(places.probe, lambda client: probe(client, places.probe, view=edition.ref))
        for salt in range(SALTS):
            token = generation_token(view, content, salt)
            with translated(f"claiming a generation of {edition.ref}"):
                answer = self.run(OWN, [places.team_owner, places.tokens], [team, token, view])
                if answer == 1:
                    answer = self.run(CLAIM, [places.owner, places.registry], [edition.ref, token, content, secrets.token_hex(8)])
                if isinstance(answer, list):
                    life, home, sequence = answer
                    claimed = edition.with_generation(token, life=(life or b"").decode(errors="replace"), shards=self.servers.shards)
                    if self.claim_shards(claimed, [token.encode(), content.encode(), life or b"", home, sequence or b"0"]):
                        return claimed
            if isinstance(answer, bytes):
                owner = answer.decode(errors="replace")
                raise Invalid(
                    f"view {edition.ref} cannot go online: its key token belongs to {owner!r}",
                    fix=f"rename the view or the team; the names of {edition.ref!r} and {owner!r} hash alike",
                    context={"view": edition.ref, "owner": owner},
                )
        raise NotReady(f"view {edition.ref} has no free generation token after {SALTS} tries", fix="collect it, then publish again")

    def all_shards(self, script: str, edition: Edition, words: Sequence[bytes]) -> bool:
        """Whether a script over registry and mark says yes in every shard."""
        shards = self.shards(edition)
        asked = [(shard.registry, command(b"EVAL", script.encode(), b"2", shard.registry, shard.whole, *words)) for shard in shards]
        return self.servers.ask(asked) == [1] * len(shards)

    def claim_shards(self, edition: Edition, words: Sequence[bytes]) -> bool:
        """Tell every shard of a cluster; False when one of them is being swept, or has been overtaken."""
        if not edition.shards:
            return True
        return self.all_shards(CLAIM_SHARD, edition, words)

    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        layout, shards, done = layout_of(edition), self.shards(edition), 0
        claim = {"token": edition.generation, "content": edition.content, "life": edition.life}
        with translated(f"loading {edition.ref}"):
            standing = [set(fields) for fields in self.indexed(shards)]
            with self.servers.loader(shards, **claim, refused=lambda: collected(edition)) as loader:
                for number, shard in enumerate(shards):
                    if (listing := layout.listing(number, edition.shards)) is not None:
                        loader.write(Batch(shard, command(b"HSET", shard.index, *listing), 1))
                for rows in batches(blocks, self.block(edition)):
                    layout.check(rows)
                    start, done = done, done + len(rows)
                    for number, part in self.parts(edition, rows):
                        field = batch_field(start, part)
                        if field not in standing[number]:
                            stamps = edition.expires_ms(part.rows, now_us=self.now_us())
                            loader.write(layout.load(shards[number], part, field=field, stamps=stamps))
                    loader.then(lambda done=done: progress(done, total))  # type: ignore[misc]

    def block(self, edition: Edition) -> int:
        """Rows that are spread over the shards at a time."""
        return self.batch * max(1, edition.shards // 4)

    def parts(self, edition: Edition, rows: KeyedRows) -> Iterator[tuple[int, KeyedRows]]:
        """Rows by the number of their shard, at most a batch each."""
        if not edition.shards:
            yield 0, rows
            return
        shard_of = layout_of(edition).shard_of(rows.keys, edition.shards)
        order = np.argsort(shard_of, kind="stable")
        bounds = np.searchsorted(shard_of[order], np.arange(edition.shards + 1))
        for number in range(edition.shards):
            for start in range(int(bounds[number]), int(bounds[number + 1]), self.batch):
                yield number, rows.take(order[start : min(start + self.batch, int(bounds[number + 1]))])

    def indexed(self, shards: Sequence[Shard]) -> list[list[bytes]]:
        """The batches that stand in each shard."""
        return self.servers.ask([(shard.index, command(b"HKEYS", shard.index)) for shard in shards])

    def count(self, edition: Edition) -> int:
        with translated(f"counting rows of {edition.ref}"):
            return sum(rows_of(field) for fields in self.indexed(self.shards(edition)) for field in fields)

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        layout, shards = layout_of(edition), self.shards(edition)
        found: list[bytes | None] = [None] * len(keys)
        shard_of = layout.shard_of(join_rows(keys), edition.shards) if edition.shards else np.zeros(len(keys), dtype=np.int64)
        with translated(f"reading rows of {edition.ref}"):
            for number in np.unique(shard_of).tolist():
                shard, places = shards[number], np.flatnonzero(shard_of == number).tolist()
                for start in range(0, len(places), self.batch):
                    some = places[start : start + self.batch]
                    asked = [keys[place] for place in some]
                    rows = self.servers.at(shard.registry, lambda client, shard=shard, asked=asked: layout.read(client, shard, asked))  # type: ignore[misc]
                    for place, row in zip(some, rows, strict=True):
                        found[place] = row
        return found

    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        layout, shards = layout_of(edition), self.shards(edition)
        fence = [word(item) for item in (edition.generation.encode(), expected.current.life.encode(), b"%d" % expected.sequence)]
        written = done = 0
        with translated(f"writing a delta of {edition.ref}"):
            if self.state(edition.team, edition.view) != expected:
                raise moved(edition)
            for rows in batches(blocks, self.block(edition)):
                layout.check(rows)
                for number, part in self.parts(edition, rows):
                    shard = shards[number]
                    delta = layout.delta(shard, part, stamps=edition.expires_ms(part.rows, now_us=self.now_us()))
                    words = [word(b"%d" % (2 + len(part))), word(shard.registry), word(shard.index), delta.names, *fence, delta.arguments]
                    answer = self.evaluate(shard, delta.script, b"".join(words), 1 + 2 + len(part) + len(fence) + delta.count)
                    if answer == -1:
                        raise moved(edition)
                    if answer == -2:
                        raise crowded(edition)
                    written += answer
                done += len(rows)
                progress(done, total)
        return written

    def evaluate(self, shard: Shard, script: str, words: bytes, count: int) -> Any:
        """One script over words that were built elsewhere, `count` of them."""

        def ask(client: Client) -> Any:
            sha = client.register_script(script).sha.encode()
            request = header(2 + count) + word(b"EVALSHA") + word(sha) + words
            for _ in range(2):
                try:
                    with held(client) as wire:
                        wire.send(request)
                        answer = wire.receive(1)[0]
                        await_copies(wire, self.servers.copies)
                        return answer
                except NoScriptError:
                    client.script_load(script)
            raise NotReady("the online store forgets its scripts at once", fix="does something run SCRIPT FLUSH there?")

        return self.servers.at(shard.registry, ask)

    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        places = self.places(edition.team, edition.view)
        new = LiveState(edition, None) if expected is None else expected.after(edition, forget=forget)
        words: list[bytes | str | int] = [
            b"" if expected is None else expected.to_bytes(),
            new.to_bytes(),
            edition.pointer().to_bytes(),
            canonical_json(edition.schema.to_json()),
            edition.generation,
            edition.mark,
            edition.life,
            new.sequence,
        ]
        with translated(f"making a generation of {edition.ref} live"):
            known = expected is not None and expected.current.generation == edition.generation
            if not known and not self.ready(edition):
                raise collected(edition)
            answer = self.run(FLIP, [places.state, places.registry, places.pointer, places.schema(edition.schema.digest)], words)
        if answer == 0:
            raise moved(edition)
        if answer == -1:
            raise collected(edition)
        return new

    def ready(self, edition: Edition) -> bool:
        """Mark every shard of a cluster as whole, unless one of them has forgotten the edition."""
        return not edition.shards or self.all_shards(READY, edition, [edition.generation.encode(), edition.life.encode()])

    def collect(self, team: str, view: str, *, progress: Progress) -> int:
        live = self.state(team, view)
        if live is None:
            return 0
        removal = Removal(self.servers, self.places(team, view), pause_s=self.pause_s, progress=progress)
        with translated(f"collecting {team}/{view}"):
            for token in removal.tokens():
                if token not in kept(live) and not removal.remove(token, expected=live):
                    break  # another publisher is at work: it will collect
        return removal.removed

    def discard(self, edition: Edition) -> int:
        live = self.state(edition.team, edition.view)
        if live is not None and edition.generation in kept(live):
            return 0
        removal = Removal(self.servers, self.places(edition.team, edition.view), pause_s=self.pause_s, progress=lambda done, total: None)
        with translated(f"removing rows of {edition.ref}"):
            removal.remove(edition.generation, expected=live)
        return removal.removed


def kept(live: LiveState) -> set[str]:
    """The generations whose rows may not be removed."""
    return {edition.generation for edition in (live.current, live.previous) if edition is not None}


def moved(edition: Edition) -> Conflict:
    """Somebody else published the view meanwhile."""
    return Conflict(
        f"view {edition.ref}: another generation went live while this one was published",
        fix="publish again: it starts from what is live now",
        context={"view": edition.ref, "manifest": edition.manifest},
    )


def collected(edition: Edition) -> Conflict:
    """The token is no longer ours: collected by another publisher, or the server was emptied."""
    return Conflict(
        f"view {edition.ref}: its new rows were removed while it was published (by another publisher, or the server was emptied)",
        fix="publish again",
        context={"view": edition.ref, "manifest": edition.manifest},
    )


def crowded(edition: Edition) -> Invalid:
    """A bucket is full."""
    return Invalid(
        f"view {edition.ref}: a delta adds more keys than the {edition.buckets} buckets of its generation have room for",
        fix="publish a whole generation: it gets as many buckets as it needs",
        context={"view": edition.ref, "buckets": edition.buckets},
    )
