"""`OnlineStore` on one Redis or Valkey server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tiffin.core.digests import canonical_json
from tiffin.core.errors import Conflict, Invalid, NotReady
from tiffin.online.editions import Edition, LiveState
from tiffin.online.redis import Client, translated
from tiffin.online.scripts import APPLY, CLAIM, FLIP, LOAD, RETIRE
from tiffin.online.store import Progress
from tiffin.wire.keys import generation_token, owner_key, pointer_key, registry_key, row_prefix, schema_key, state_key

__all__ = ["RedisStore"]

# A script blocks the server: 1,000 rows take 1 to 3 ms.
BATCH = 1000
SALTS = 32


class RedisStore:
    """The publisher's side of a server; its user may write, script and scan.

    Args:
        client: from `tiffin.online.redis.connect`.
        batch: rows per script: the longest that the server is kept from its readers.
    """

    def __init__(self, client: Client, *, batch: int = BATCH) -> None:
        self.client = client
        self.batch = batch
        self.scripts = {text: client.register_script(text) for text in (APPLY, CLAIM, FLIP, LOAD, RETIRE)}

    def run(self, script: str, keys: Sequence[bytes], args: Sequence[bytes | str]) -> Any:
        """One script, by its digest; the client sends its text when the server does not know it."""
        return self.scripts[script](keys=list(keys), args=list(args))

    def state(self, team: str, view: str) -> LiveState | None:
        with translated(f"reading the state of {team}/{view}"):
            raw = self.client.get(state_key(team, view))
        return LiveState.from_bytes(raw, name=f"{team}/{view}") if isinstance(raw, bytes) else None

    def claim(self, edition: Edition) -> Edition:
        team, view, content = edition.team, edition.view, edition.content
        keys = [owner_key(team), owner_key(team, view), registry_key(team, view)]
        for salt in range(SALTS):
            token = generation_token(content, salt)
            with translated(f"claiming a generation of {edition.ref}"):
                answer = self.run(CLAIM, keys, [team, edition.ref, token, content])
            if isinstance(answer, bytes):
                owner = answer.decode(errors="replace")
                raise Invalid(
                    f"view {edition.ref} cannot go online: its key token belongs to {owner!r}",
                    fix=f"rename the view or the team; the names of {edition.ref!r} and {owner!r} hash alike",
                    context={"view": edition.ref, "owner": owner},
                )
            if answer == 1:
                return edition.with_generation(token.decode())
        raise NotReady(f"view {edition.ref} has no free generation token after {SALTS} tries", fix="collect it, then publish again")

    def load(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes], *, progress: Progress) -> None:
        registry = registry_key(edition.team, edition.view)
        for names, values, done in self.batches(edition, keys, rows):
            with translated(f"loading {edition.ref}"):
                answer = self.run(LOAD, [registry, *names], [edition.generation, edition.content, *values])
            if answer != 1:
                raise collected(edition)
            progress(done, len(keys))

    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        found: list[Any] = []
        for names, _, _ in self.batches(edition, keys, keys):
            with translated(f"reading rows of {edition.ref}"):
                found += self.client.mget(names)
        return found

    def apply(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes], *, expected: LiveState, progress: Progress) -> int:
        state = state_key(edition.team, edition.view)
        written = 0
        for names, values, done in self.batches(edition, keys, rows):
            with translated(f"writing a delta of {edition.ref}"):
                answer = self.run(APPLY, [state, *names], [expected.to_bytes(), *values])
            if answer == -1:
                raise moved(edition)
            written += answer
            progress(done, len(keys))
        return written

    def flip(self, edition: Edition, *, expected: LiveState | None) -> LiveState:
        team, view = edition.team, edition.view
        new = LiveState(edition, None) if expected is None else expected.after(edition)
        keys = [state_key(team, view), registry_key(team, view), pointer_key(team, view), schema_key(team, view, edition.schema.digest)]
        words: list[bytes | str] = [
            b"" if expected is None else expected.to_bytes(),
            new.to_bytes(),
            edition.pointer().to_bytes(),
            canonical_json(edition.schema.to_json()),
            edition.generation,
            edition.mark,
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
        with translated(f"collecting {team}/{view}"):
            known: Any = self.client.hkeys(registry)
            dead = sorted({token.decode() for token in known} - kept)
            removed = 0
            for token in dead:
                if self.run(RETIRE, [state_key(team, view), registry], [live.to_bytes(), token]) != 1:
                    break  # another publisher is at work: it will collect
                for names in self.scan(row_prefix(team, view, token.encode())):
                    removed += self.client.unlink(*names)
                    progress(removed, removed)
                self.client.hdel(registry, token)
        return removed

    def scan(self, prefix: bytes) -> Iterator[list[bytes]]:
        """Names under a prefix, in batches; the prefix holds no glob character."""
        cursor: Any = 0
        while True:
            page: Any = self.client.scan(cursor, match=prefix + b"*", count=self.batch)
            cursor, names = page
            for start in range(0, len(names), self.batch):
                yield names[start : start + self.batch]
            if cursor == 0:
                return

    def batches(self, edition: Edition, keys: Sequence[bytes], rows: Sequence[bytes]) -> Iterator[tuple[list[bytes], Sequence[bytes], int]]:
        """Names in the server, their values, and how many are done after this batch."""
        prefix = row_prefix(edition.team, edition.view, edition.generation.encode())
        for start in range(0, len(keys), self.batch):
            end = min(start + self.batch, len(keys))
            yield [prefix + key for key in keys[start:end]], rows[start:end], end


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
