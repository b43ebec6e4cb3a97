"""The online store kit: ours passes on a real server, and broken stores do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.online_case import SCHEMA, T0, edition, started
from tests.online_cluster import cluster
from tests.online_memory_store import MemoryOnlineStore, time_of
from tiffin.online.cluster import Cluster
from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.redis_store import RedisStore
from tiffin.online.rocks import open_rocks
from tiffin.online.store import Progress
from tiffin.testing.online_store import RULES, Case, check_online_store, generated_cases, main
from tiffin.wire.rows import pack
from tiffin.wire.segments import build_segment

SMALL = next(iter(generated_cases(0)))
SMALL_CASES = [case for case in generated_cases(seed=6) if case.name != "many keys"]


@pytest.fixture(scope="module")
def online(tmp_path_factory):
    with started(tmp_path_factory.mktemp("online")) as server:
        yield server


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", list(generated_cases(seed=5)), ids=lambda case: case.name)
def test_the_redis_store_obeys(rule: str, case: Case, online) -> None:
    RULES[rule](online.store(batch=500), case)


@pytest.fixture(scope="module")
def three_nodes(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", SMALL_CASES, ids=lambda case: case.name)
def test_the_redis_store_obeys_on_a_cluster_of_three(rule: str, case: Case, three_nodes) -> None:
    RULES[rule](RedisStore(Cluster(three_nodes.urls, shards=8), batch=500, pause_s=0), case)


@pytest.fixture(scope="module")
def rocks(tmp_path_factory):
    store = open_rocks(tmp_path_factory.mktemp("rocks") / "store")
    yield store
    store.close()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("case", list(generated_cases(seed=7)), ids=lambda case: case.name)
def test_the_rocksdb_store_obeys(rule: str, case: Case, rocks) -> None:
    RULES[rule](rocks, case)


def test_rows_from_a_folder_of_segments_are_checked_too(online, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = edition(1, range(40))
    packed = pack(SCHEMA, rows.columns, rows.event_time_us)
    segment = build_segment(SCHEMA, rows.keys, packed, team="network", view="congestion", start_us=T0, end_us=T0)
    (tmp_path / "congestion.segment").write_bytes(segment)

    assert main([online.server.publisher, "--seed", "3", "--cases", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "0 broken rules\n"


def lists(blocks: Iterable[KeyedRows]) -> tuple[list[bytes], list[bytes]]:
    blocks = list(blocks)
    return [key for rows in blocks for key in rows.key_list()], [row for rows in blocks for row in rows.row_list()]


class InventsAState(MemoryOnlineStore):
    def state(self, team: str, view: str) -> LiveState | None:
        made = Edition(team, view, "aaaaaa", "", "", (), SCHEMA, 0, None, None)
        return super().state(team, view) or LiveState(made, None)


class Truncates(MemoryOnlineStore):
    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        return [row and row[:5] for row in super().rows(edition, keys)]


class NeverTheSameToken(MemoryOnlineStore):
    def claim(self, edition: Edition) -> Edition:
        self.claimed.get(edition.ref, {}).clear()
        return super().claim(edition)


class LoadsIntoTheLiveOne(MemoryOnlineStore):
    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        keys, rows = lists(blocks := list(blocks))
        super().load(edition, blocks, total=total, progress=progress)
        live = self.states.get(edition.ref)
        for key, row in zip(keys, rows, strict=True):
            if live is not None:
                self.held[edition.ref, live.current.generation, key] = row


class ForgetsThePrevious(MemoryOnlineStore):
    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        state = LiveState(super().flip(edition, expected=expected, forget=forget).current, None)
        self.states[edition.ref] = state
        return state


class NeverForgets(MemoryOnlineStore):
    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        return super().flip(edition, expected=expected)


class FlipsOnce(MemoryOnlineStore):
    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        state = self.states.get(edition.ref)
        assert state is None or state.current != edition, "already live"
        return super().flip(edition, expected=expected, forget=forget)


class FlipsOverAnything(MemoryOnlineStore):
    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        return super().flip(edition, expected=self.states.get(edition.ref), forget=forget)


class FlipsToAnything(MemoryOnlineStore):
    def flip(self, edition: Edition, *, expected: LiveState | None, forget: bool = False) -> LiveState:
        self.claimed.setdefault(edition.ref, {}).setdefault(edition.generation, edition.content)
        return super().flip(replace(edition, life=self.life), expected=expected, forget=forget)


class Signed(MemoryOnlineStore):
    def wins(self, new: bytes, old: bytes) -> bool:
        return (time_of(new) ^ 2**31) >= (time_of(old) ^ 2**31)


class SkipsEqualTimes(MemoryOnlineStore):
    def wins(self, new: bytes, old: bytes) -> bool:
        return time_of(new) > time_of(old)


class OnlyKnownKeys(MemoryOnlineStore):
    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        keys, rows = lists(blocks)
        known = [(k, r) for k, r in zip(keys, rows, strict=True) if (edition.ref, edition.generation, k) in self.held]
        kept = KeyedRows.of([k for k, _ in known], [r for _, r in known])
        return super().apply(edition, [kept], expected=expected, total=total, progress=progress)


class AppliesToAnything(MemoryOnlineStore):
    def apply(self, edition: Edition, blocks: Iterable[KeyedRows], *, expected: LiveState, total: int, progress: Progress) -> int:
        return super().apply(edition, blocks, expected=self.states[edition.ref], total=total, progress=progress)


class CollectsThePrevious(MemoryOnlineStore):
    def kept(self, live: LiveState) -> set[str]:
        return {live.current.generation}


class LoadsForEver(MemoryOnlineStore):
    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        self.claimed.setdefault(edition.ref, {})[edition.generation] = edition.content
        super().load(edition, blocks, total=total, progress=progress)


class OneNamespace(MemoryOnlineStore):
    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        keys, rows = lists(blocks := list(blocks))
        super().load(edition, blocks, total=total, progress=progress)
        for place in list(self.held):
            for key, row in zip(keys, rows, strict=True):
                if place[2] == key:
                    self.held[place] = row


class CountsBackwards(MemoryOnlineStore):
    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        super().load(edition, blocks, total=total, progress=lambda done, total: progress(total - done, total))


class KeepsTheDiscarded(MemoryOnlineStore):
    def discard(self, edition: Edition) -> int:
        return self.count(edition)


class OutlivesItsServer(MemoryOnlineStore):
    def stands(self, edition: Edition) -> bool:
        return edition.generation in self.claimed.get(edition.ref, {})


class LoadsOverADelta(MemoryOnlineStore):
    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        known = self.claimed.get(edition.ref, {})
        before, known[edition.generation] = known.get(edition.generation), edition.content
        super().load(edition, blocks, total=total, progress=progress)
        if before is not None:
            known[edition.generation] = before


class LoadsOnce(MemoryOnlineStore):
    def load(self, edition: Edition, blocks: Iterable[KeyedRows], *, total: int, progress: Progress) -> None:
        if not self.count(edition):
            super().load(edition, blocks, total=total, progress=progress)


class CountsPromises(MemoryOnlineStore):
    def count(self, edition: Edition) -> int:
        return super().count(edition) or 1


class DropsByTheWall(MemoryOnlineStore):
    def rows(self, edition: Edition, keys: Sequence[bytes]) -> list[bytes | None]:
        return [row if edition.ttl_us is None else None for row in super().rows(edition, keys)]


BROKEN: dict[str, type[MemoryOnlineStore]] = {
    "an unknown view has no state": InventsAState,
    "rows come back byte for byte": Truncates,
    "an equal content gets its token again": NeverTheSameToken,
    "nothing is live before the flip": LoadsIntoTheLiveOne,
    "a flip keeps the generation before": ForgetsThePrevious,
    "a flip that forgets keeps no generation before": NeverForgets,
    "a flip may be repeated": FlipsOnce,
    "a flip over something else is a conflict": FlipsOverAnything,
    "a flip to an unclaimed generation is a conflict": FlipsToAnything,
    "a newer row replaces an older and not the reverse": Signed,
    "an equal event time is replaced": SkipsEqualTimes,
    "a delta adds unknown keys": OnlyKnownKeys,
    "a delta on another state is a conflict": AppliesToAnything,
    "collection keeps the live and the previous": CollectsThePrevious,
    "a half loaded generation is collected and cannot go on": LoadsForEver,
    "a discarded generation leaves nothing and may be published again": KeepsTheDiscarded,
    "a load of another life is a conflict": OutlivesItsServer,
    "a late load never goes over a delta": LoadsOverADelta,
    "a load may be done again": LoadsOnce,
    "acknowledged rows are counted": CountsPromises,
    "a replayed generation is not dropped by the wall": DropsByTheWall,
    "two views do not meet": OneNamespace,
    "progress counts acknowledged rows": CountsBackwards,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_kit_notices_a_store_that_breaks_one_rule(rule: str) -> None:
    with pytest.raises(AssertionError):
        RULES[rule](BROKEN[rule](), SMALL)


def test_the_kit_accepts_the_simplest_store() -> None:
    assert check_online_store(MemoryOnlineStore(), seed=1) == []
