"""`OnlineStore` on one Redis or Valkey server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Conflict, Invalid, NotReady
from tiffin.online.editions import Edition, LiveState
from tiffin.online.guarded_load import Batch, GuardedLoad
from tiffin.online.keyed_rows import KeyedRows, batches
from tiffin.online.places import generation_token, index_name, rows_prefix, tokens_key
from tiffin.online.redis import LOST, Client, Exchange, NoScriptError, held, translated
from tiffin.online.requests import bulks, command, header, pairs, sets_until, word
from tiffin.online.retries import Retries
from tiffin.online.row_index import batch_field, indexed, names_of, rows_of
from tiffin.online.scripts import APPLY, CLAIM, FLIP, OWN, RETIRE
from tiffin.online.store import Progress
from tiffin.wire.keys import owner_key, pointer_key, registry_key, schema_key, state_key

__all__ = ["RedisStore"]

# 1,000 rows keep the server from its readers for 1 to 3 ms.
BATCH = 1000
REMOVED_AT_ONCE = 200
PAUSE_S = 0.001
SALTS = 32


def wall_us() -> int:
    """The wall."""
    return time.time_ns() // 1000


class RedisStore:
    """The publisher's side of a server; its user may write and script its own team's keys.

    Args:
        client: from `tiffin.online.redis.connect`.
        batch: rows per transaction or script: the longest that the server is kept from its readers.
        pause_s: between two steps of a collection.
        retries: when the connection is lost.
        now_us: the wall in µs, by which the server drops rows of views with a time to live.
    """

    def __init__(
        self,
        client: Client,
        *,
        batch: int = BATCH,
        pause_s: float = PAUSE_S,
        retries: Retries | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        self.client = client
        self.now_us = now_us
        self.batch = batch
        self.pause_s = pause_s
        self.retries = retries or Retries()
        self.scripts = {text: client.register_script(text) for text in (APPLY, CLAIM, FLIP, OWN, RETIRE)}

    def run(self, script: str, keys: Sequence[bytes], args: Sequence[bytes | str | int]) -> Any:
        """One script, by its digest; the client sends its text when the server does not know it."""
        return self.scripts[script](keys=list(keys), args=list(args))

    def state(self, team: str, view: str) -> LiveState | None:
        with translated(f"reading the state of {team}/{view}"):
            raw = self.client.get(state_key(team, view))
        return LiveState.from_bytes(raw, name=f"{team}/{view}") if isinstance(raw, bytes) else None

    def claim(self, edition: Edition) -> Edition:
        team, view, content = edition.team, edition.view, edition.content
        for salt in range(SALTS):
            token = generation_token(view, content, salt)
            with translated(f"claiming a generation of {edition.ref}"):
                answer = self.run(OWN, [owner_key(team), tokens_key(team)], [team, token, view])
                if answer == 1:
                    keys = [owner_key(team, view), registry_key(team, view)]
                    answer = self.run(CLAIM, keys, [edition.ref, token, content, secrets.token_hex(8)])
            if isinstance(answer, bytes):
                owner = answer.decode(errors="replace")
                raise Invalid(
                    f"view {edition.ref} cannot go online: its key token belongs to {owner!r}",
                    fix=f"rename the view or the team; the names of {edition.ref!r} and {owner!r} hash alike",
                    context={"view": edition.ref, "owner": owner},
                )
            if isinstance(answer, list):
                return edition.with_generation(token, life=answer[0].decode(errors="replace"))
        raise NotReady(f"view {edition.ref} has no free generation token after {SALTS} tries", fix="collect it, then publish again")

    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        prefix = rows_prefix(edition.team, edition.view, edition.generation)
        index, done = index_name(prefix), 0
        with translated(f"loading {edition.ref}"):
            standing = set(self.fields(index))
            with GuardedLoad(
                self.client,
                registry=registry_key(edition.team, edition.view),
                token=edition.generation,
                content=edition.content,
                life=edition.life,
                refused=lambda: collected(edition),
                retries=self.retries,
            ) as guarded:
                for rows in batches(blocks, self.batch):
                    field, done = batch_field(done, rows), done + len(rows)
                    if field in standing:
                        progress(done, total)
                        continue
                    guarded.write(self.load_batch(edition, prefix, rows, field, lambda done=done: progress(done, total)))

    def load_batch(self, edition: Edition, prefix: bytes, rows: KeyedRows, field: bytes, done: Any) -> Batch:
        """The rows, and their names in the index."""
        entry = command(b"HSET", index_name(prefix), field, indexed(prefix, rows))
        expires_ms = edition.expires_ms(rows.rows, now_us=self.now_us())
        if expires_ms is None:
            return Batch(header(1 + 2 * len(rows)) + word(b"MSET") + pairs(prefix, rows) + entry, 2, done)
        return Batch(sets_until(prefix, rows, expires_ms) + entry, len(rows) + 1, done)

    def count(self, edition: Edition) -> int:
        with translated(f"counting rows of {edition.ref}"):
            return sum(map(rows_of, self.fields(index_name(rows_prefix(edition.team, edition.view, edition.generation)))))

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        prefix = rows_prefix(edition.team, edition.view, edition.generation)
        found: list[Any] = []
        with translated(f"reading rows of {edition.ref}"):
            for start in range(0, len(keys), self.batch):
                found += self.client.mget([prefix + key for key in keys[start : start + self.batch]])
        return found

    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        prefix = rows_prefix(edition.team, edition.view, edition.generation)
        keys = word(registry_key(edition.team, edition.view)) + word(index_name(prefix))
        fence = word(expected.current.life.encode()) + word(b"%d" % expected.sequence)
        written = done = 0
        with translated(f"writing a delta of {edition.ref}"):
            if self.state(edition.team, edition.view) != expected:
                raise moved(edition)
            for rows in batches(blocks, self.batch):
                expires_ms = edition.expires_ms(rows.rows, now_us=self.now_us())
                words = [keys, bulks(prefix, rows.keys), fence, word(b"0" if expires_ms is None else b"1"), bulks(b"", rows.rows)]
                if expires_ms is not None:
                    words += [word(b"%d" % stamp) for stamp in expires_ms.tolist()]
                count = 2 + len(rows), 3 + len(rows) * (1 if expires_ms is None else 2)
                answer = self.evaluate(APPLY, b"".join(words), *count)
                if answer == -1:
                    raise moved(edition)
                written += answer
                done += len(rows)
                progress(done, total)
        return written

    def evaluate(self, script: str, words: bytes, keys: int, count: int) -> Any:
        """One script over words that were built elsewhere: `keys` names, `count` arguments."""
        sha = self.scripts[script].sha.encode()
        request = header(3 + keys + count) + word(b"EVALSHA") + word(sha) + word(b"%d" % keys) + words

        def ask(wire: Exchange) -> Any:
            wire.send(request)
            return wire.receive(1)[0]

        try:
            return self.exchange(ask)
        except NoScriptError:
            self.client.script_load(script)
            return self.exchange(ask)

    def exchange(self, ask: Callable[[Exchange], Any]) -> Any:
        """Something that may be done twice, on a connection of the pool."""
        for pause in (*self.retries.pauses(), None):
            try:
                with held(self.client) as wire:
                    return ask(wire)
            except LOST:
                if pause is None:
                    raise
                self.retries.sleep(pause)
        raise AssertionError("unreachable")

    def flip(self, edition: Edition, *, expected: LiveState | None) -> LiveState:
        team, view = edition.team, edition.view
        new = LiveState(edition, None) if expected is None else expected.after(edition)
        keys = [state_key(team, view), registry_key(team, view), pointer_key(team, view), schema_key(team, view, edition.schema.digest)]
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
            answer = self.run(FLIP, keys, words)
        if answer == 0:
            raise moved(edition)
        if answer == -1:
            raise collected(edition)
        return new

    def collect(self, team: str, view: str, *, progress: Progress) -> int:
        live = self.state(team, view)
        if live is None:
            return 0
        kept = {live.current.generation} | ({live.previous.generation} if live.previous is not None else set())
        registry = registry_key(team, view)
        removed = 0
        with translated(f"collecting {team}/{view}"):
            dead = sorted(token for token in self.fields(registry) if not token.startswith(b".") and token.decode() not in kept)
            for token in dead:
                if self.run(RETIRE, [state_key(team, view), registry], [live.to_bytes(), token]) != 1:
                    break  # another publisher is at work: it will collect
                removed += self.remove(rows_prefix(team, view, token.decode()), removed, f"{team}/{view}", progress)
                self.client.hdel(registry, token)
                self.client.hdel(tokens_key(team), token)
        return removed

    def discard(self, edition: Edition) -> int:
        team, view, token = edition.team, edition.view, edition.generation
        live, registry = self.state(team, view), registry_key(team, view)
        if live is not None and token in {kept.generation for kept in (live.current, live.previous) if kept is not None}:
            return 0
        with translated(f"removing rows of {edition.ref}"):
            if self.run(RETIRE, [state_key(team, view), registry], [b"" if live is None else live.to_bytes(), token]) != 1:
                return 0  # another publisher is at work: it will collect
            removed = self.remove(rows_prefix(team, view, token), 0, edition.ref, lambda done, total: None)
            self.client.hdel(registry, token)
            self.client.hdel(tokens_key(team), token)
        return removed

    def remove(self, prefix: bytes, before: int, view: str, progress: Progress) -> int:
        """Every row under a prefix, a few at a time and with pauses, batch by batch of the index; the index goes last."""
        index, removed = index_name(prefix), 0
        for field in self.fields(index):
            value: Any = self.client.hget(index, field)
            names = names_of(prefix, value or b"\0", view=view)
            for start in range(0, len(names), REMOVED_AT_ONCE):
                removed += self.client.unlink(*names[start : start + REMOVED_AT_ONCE])
                progress(before + removed, before + removed)
                time.sleep(self.pause_s)
        self.client.unlink(index)
        return removed

    def fields(self, name: bytes) -> list[bytes]:
        """The fields of one of our hashes."""
        found: Any = self.client.hkeys(name)
        return list(found)


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
