"""Remove the rows of a dead generation: by its index, a few at a time, without keeping anybody waiting.

Each step asks the registry whether the token is still being removed, in the same script that removes. So a collection that
slept while another one finished, and the same content was published again under the same token, removes nothing.
"""

from __future__ import annotations

import time
from typing import Any

from tiffin.online.editions import LiveState
from tiffin.online.places import Places, Shard
from tiffin.online.requests import command
from tiffin.online.row_index import BUCKETS, names_of
from tiffin.online.scripts import FORGET, RETIRE, RETIRE_SHARD, SWEEP
from tiffin.online.servers import Servers
from tiffin.online.store import Progress

__all__ = ["Removal"]

AT_ONCE = 200


def eval_of(script: str, keys: list[bytes], words: list[Any]) -> bytes:
    """A script with its text."""
    given = [word.encode() if isinstance(word, str) else word for word in words]
    return command(b"EVAL", script.encode(), b"%d" % len(keys), *keys, *given)


class Removal:
    """Removes generations of one view.

    Args:
        pause_s: between two steps.
    """

    def __init__(self, servers: Servers, places: Places, *, pause_s: float, progress: Progress) -> None:
        self.servers = servers
        self.places = places
        self.pause_s = pause_s
        self.progress = progress
        self.removed = 0

    def run(self, script: str, keys: list[bytes], args: list[Any]) -> Any:
        """One script at the server of its first key."""
        return self.servers.at(keys[0], lambda client: client.register_script(script)(keys=keys, args=args))

    def tokens(self) -> list[str]:
        """Every generation that may have rows, here or in a shard that a dead publisher left behind."""
        registries = {self.places.registry, *(shard.registry for shard in self.places.rows("A000"))}
        found = self.servers.ask([(name, command(b"HKEYS", name)) for name in sorted(registries)])
        return sorted({field.decode(errors="replace") for fields in found for field in fields if not field.startswith(b".")})

    def remove(self, token: str, *, expected: LiveState | None) -> bool:
        """Retire a generation, remove its rows, forget it; False when something else than `expected` is live."""
        answer = self.run(RETIRE, [self.places.state, self.places.registry], [b"" if expected is None else expected.to_bytes(), token])
        if not isinstance(answer, list):
            return False
        words: list[Any] = [token, answer[0]]
        shards = [shard for shard in self.places.rows(token) if shard.registry == self.places.registry]
        if self.places.shards:
            told = self.servers.ask([(shard.registry, eval_of(RETIRE_SHARD, [shard.registry], words)) for shard in self.places.rows(token)])
            shards = [shard for shard, ours in zip(self.places.rows(token), told, strict=True) if ours != -1]
        swept = [shard for shard, fields in zip(shards, self.indexed(shards), strict=True) if self.sweep(shard, fields, words)]
        self.servers.ask([(shard.registry, eval_of(FORGET, [shard.registry, shard.index, shard.whole], words)) for shard in swept])
        if self.places.shards:
            self.run(FORGET, [self.places.registry], words)
        return True

    def indexed(self, shards: list[Shard]) -> list[list[bytes]]:
        """The batches of each shard's index."""
        return self.servers.ask([(shard.index, command(b"HKEYS", shard.index)) for shard in shards])

    def sweep(self, shard: Shard, fields: list[bytes], words: list[Any]) -> bool:
        """Every row of a shard, batch by batch of its index; False when the token has been given away again."""
        for field in fields:
            (value,) = self.servers.ask([(shard.index, command(b"HGET", shard.index, field))])
            names = names_of(shard.prefix, value or b"\0", view=f"{self.places.team}/{self.places.view}")
            buckets = int((value or b"")[:1] == BUCKETS)
            for start in range(0, len(names), AT_ONCE):
                removed = self.run(SWEEP, [shard.registry, *names[start : start + AT_ONCE]], [*words, buckets])
                if removed == -1:
                    return False
                self.removed += removed
                self.progress(self.removed, self.removed)
                time.sleep(self.pause_s)
        return True
