"""The conformance kit of `tiffin.online.store.OnlineStore`.

Run it over a store: `python -m tiffin.testing.online_store URL [--seed N] [--cases DIR]`; it works on views of its own
under the team `conformance`. Every `*.segment` in DIR is a segment (`tiffin.wire.segments`) whose rows are used as well.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Conflict, PlatformError
from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.store import OnlineStore, Progress
from tiffin.online.stores import open_store
from tiffin.wire.encodings import Ragged, Values, strings
from tiffin.wire.keys import encode_keys
from tiffin.wire.rows import Packed, pack, split_rows, unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.segments import read_segment

__all__ = ["RULES", "Case", "check_online_store", "generated_cases", "read_cases"]

TEAM = "conformance"


@dataclass(frozen=True, slots=True)
class Case:
    """Rows of one schema at three ages: the same keys, rising event times.

    Args:
        older, rows, newer: `(keys,)` packed rows each.
        buckets: of the layout "dense"; 0: one value per row.
    """

    name: str
    schema: RowSchema
    keys: list[bytes]
    older: list[bytes]
    rows: list[bytes]
    newer: list[bytes]
    buckets: int = 0


def make_case(name: str, schema: RowSchema, keys: list[bytes], packed: Packed, *, buckets: int = 0) -> Case:
    """The rows, and the same values an event-time unit before and after."""
    columns, event_time_us = unpack(schema, packed)
    ages = [split_rows(pack(schema, columns, event_time_us + shift * schema.unit_us)) for shift in (-1, 0, 1)]
    return Case(name, schema, keys, ages[0], ages[1], ages[2], buckets)


def generated_cases(seed: int) -> Iterator[Case]:
    """A few rows with difficult keys, and more than one batch of plain ones."""
    random = np.random.default_rng(seed)
    schema = RowSchema(7, (Column("number", "f32"), Column("text", "str:30")))
    long, difficult = "x" * 300, ["", "*", "[a-z]*", "{tag}", "a b", "a\0b", "\0", "é", "東京", "\r\n", "?", "\\"]
    many = [f"key {number}" for number in random.permutation(2345).tolist()]
    for name, names, buckets in (("difficult keys", [*difficult, long], 0), ("many keys", many, 0), ("dense", [*difficult, *many], 20)):
        columns: dict[str, Values | Ragged] = {
            "number": Values(random.normal(size=len(names))),
            "text": strings([text[:7] for text in names]),
        }
        # at 2**31, where a signed comparison would go wrong
        times = (2**31 - np.arange(len(names)) % 2) * schema.unit_us
        yield make_case(name, schema, encode_keys([("id", "string")], {"id": names})[0], pack(schema, columns, times), buckets=buckets)


def read_cases(folder: Path) -> Iterator[Case]:
    """The `*.segment` files of a folder, in order of their names."""
    for path in sorted(folder.glob("*.segment")):
        segment = read_segment(path.read_bytes(), name=path.name)
        yield make_case(path.stem, segment.schema, segment.keys, segment.packed)


class Counted:
    """A `progress` that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def make_edition(case: Case, view: str, rows: Sequence[bytes], *, deltas: tuple[str, ...] = ()) -> Edition:
    """An edition of these rows that nobody has claimed."""
    base = digest_bytes(b"".join(rows))
    manifest = digest_bytes(f"{view} {base} {deltas}".encode())
    return Edition(TEAM, view, "", manifest, base, deltas, case.schema, 1, None, None, buckets=case.buckets)


def new_view() -> str:
    """A view that no run used before."""
    return f"kit_{secrets.token_hex(6)}"


def load(store: OnlineStore, edition: Edition, keys: list[bytes], rows: list[bytes], progress: Progress | None = None) -> None:
    """All rows, in two blocks of which the second is longer."""
    whole, third = KeyedRows.of(keys, rows), len(keys) // 3
    store.load(edition, [whole.part(0, third), whole.part(third, len(keys))], total=len(keys), progress=progress or Counted())


def apply(store: OnlineStore, edition: Edition, keys: list[bytes], rows: list[bytes], expected: LiveState) -> int:
    """A delta, in one block."""
    return store.apply(edition, [KeyedRows.of(keys, rows)], expected=expected, total=len(keys), progress=Counted())


def publish(store: OnlineStore, case: Case, view: str, rows: list[bytes]) -> LiveState:
    """Claim, load, flip."""
    edition = store.claim(make_edition(case, view, rows))
    live = store.state(TEAM, view)
    load(store, edition, case.keys, rows)
    return store.flip(edition, expected=live)


def must_conflict(act: Callable[[], object], *, what: str) -> None:
    """Something that has to raise Conflict."""
    try:
        act()
    except Conflict:
        return
    raise AssertionError(f"{what} was accepted")


def an_unknown_view_has_no_state(store: OnlineStore, case: Case) -> None:
    assert store.state(TEAM, new_view()) is None, "a view that was never published has a state"


def rows_come_back_byte_for_byte(store: OnlineStore, case: Case) -> None:
    live = publish(store, case, new_view(), case.rows).current
    assert store.rows(live, case.keys) == case.rows, "rows differ from what was loaded"
    asked = [*case.keys[:2], b"no such key", case.keys[0]]
    expected = [*case.rows[:2], None, case.rows[0]]
    assert store.rows(live, asked) == expected, "rows are not in the order of the keys"


def an_equal_content_gets_its_token_again(store: OnlineStore, case: Case) -> None:
    view = new_view()
    first, again = (store.claim(make_edition(case, view, case.rows)) for _ in range(2))
    other = store.claim(make_edition(case, view, case.newer))
    assert first.generation == again.generation, "a retry would load its rows a second time under another token"
    assert first.generation != other.generation, "two editions share a token"


def nothing_is_live_before_the_flip(store: OnlineStore, case: Case) -> None:
    view = new_view()
    live = publish(store, case, view, case.rows)
    edition = store.claim(make_edition(case, view, case.newer))
    load(store, edition, case.keys, case.newer)
    assert store.state(TEAM, view) == live, "loading alone changed what is live"
    assert store.rows(live.current, case.keys) == case.rows, "loading changed rows that are live"


def a_flip_keeps_the_generation_before(store: OnlineStore, case: Case) -> None:
    view = new_view()
    first = publish(store, case, view, case.rows)
    second = publish(store, case, view, case.newer)
    assert store.state(TEAM, view) == second, "the state is not what the flip returned"
    assert second.previous == first.current, "the generation before is not kept as the previous"
    back = store.flip(first.current, expected=second)
    assert (back.current, back.previous) == (first.current, second.current), "a rollback does not exchange the two"
    assert store.rows(back.current, case.keys) == case.rows, "the rows of the generation before are gone"


def a_flip_that_forgets_keeps_no_generation_before(store: OnlineStore, case: Case) -> None:
    view = new_view()
    first = publish(store, case, view, case.rows)
    edition = store.claim(make_edition(case, view, case.newer))
    load(store, edition, case.keys, case.newer)
    assert store.flip(edition, expected=first, forget=True).previous is None, "the generation before is kept"
    assert store.collect(TEAM, view, progress=Counted()) == len(case.keys), "a forgotten generation is not collected"
    assert store.rows(first.current, case.keys) == [None] * len(case.keys), "rows of a forgotten generation are left"


def a_flip_may_be_repeated(store: OnlineStore, case: Case) -> None:
    view = new_view()
    before = publish(store, case, view, case.rows)
    edition = store.claim(make_edition(case, view, case.newer))
    load(store, edition, case.keys, case.newer)
    assert store.flip(edition, expected=before) == store.flip(edition, expected=before), "a repeated flip gives another state"


def a_flip_over_something_else_is_a_conflict(store: OnlineStore, case: Case) -> None:
    view = new_view()
    first = publish(store, case, view, case.rows)
    second = publish(store, case, view, case.newer)
    third = store.claim(make_edition(case, view, case.older))
    load(store, third, case.keys, case.older)
    must_conflict(lambda: store.flip(third, expected=first), what="a flip that expected an earlier state")
    must_conflict(lambda: store.flip(third, expected=None), what="a flip that expected an empty server")
    assert store.state(TEAM, view) == second, "a refused flip changed the state"


def a_flip_to_an_unclaimed_generation_is_a_conflict(store: OnlineStore, case: Case) -> None:
    edition = make_edition(case, new_view(), case.rows).with_generation("aaaaaa")
    must_conflict(lambda: store.flip(edition, expected=None), what="a generation that nobody loaded")


def a_newer_row_replaces_an_older_and_not_the_reverse(store: OnlineStore, case: Case) -> None:
    view, half = new_view(), len(case.keys) // 2
    live = publish(store, case, view, case.rows)
    target = replace(live.current, deltas=("d" * 64,))
    delta = [*case.older[:half], *case.newer[half:]]
    written = apply(store, target, case.keys, delta, live)
    assert store.rows(target, case.keys) == [*case.rows[:half], *case.newer[half:]], "the guard let an older row win, or a newer one lose"
    assert written == len(case.keys) - half, f"{written} rows are said to be written"
    assert apply(store, target, case.keys, delta, live) == written, "a repeated delta is not written like the first"


def an_equal_event_time_is_replaced(store: OnlineStore, case: Case) -> None:
    live = publish(store, case, new_view(), case.rows)
    other = [row[:-1] + bytes([row[-1] ^ 1]) for row in case.rows]
    apply(store, live.current, case.keys, other, live)
    assert store.rows(live.current, case.keys) == other, "a repaired row of the same event time was ignored"


def a_delta_adds_unknown_keys(store: OnlineStore, case: Case) -> None:
    live = publish(store, case, new_view(), case.rows)
    new = [key + b" new" for key in case.keys]
    assert apply(store, live.current, new, case.older, live) == len(new), "new keys are not counted"
    assert store.rows(live.current, new) == case.older, "new keys are not stored"


def a_delta_on_another_state_is_a_conflict(store: OnlineStore, case: Case) -> None:
    view = new_view()
    first = publish(store, case, view, case.rows)
    publish(store, case, view, case.newer)
    must_conflict(lambda: apply(store, first.current, case.keys, case.newer, first), what="a delta of an earlier state")
    assert store.rows(first.current, case.keys) == case.rows, "a refused delta wrote rows"


def collection_keeps_the_live_and_the_previous(store: OnlineStore, case: Case) -> None:
    view = new_view()
    first, second, third = (publish(store, case, view, rows) for rows in (case.older, case.rows, case.newer))
    removed = store.collect(TEAM, view, progress=Counted())
    assert removed == len(case.keys), f"{removed} rows were collected instead of {len(case.keys)}"
    assert store.rows(first.current, case.keys) == [None] * len(case.keys), "rows of a dead generation are left"
    assert store.rows(second.current, case.keys) == case.rows, "the previous generation was collected"
    assert store.rows(third.current, case.keys) == case.newer, "the live generation was collected"
    assert store.collect(TEAM, view, progress=Counted()) == 0, "a second collection finds something"


def a_half_loaded_generation_is_collected_and_cannot_go_on(store: OnlineStore, case: Case) -> None:
    view, half = new_view(), len(case.keys) // 2
    live = publish(store, case, view, case.rows)
    dead = store.claim(make_edition(case, view, case.newer))
    load(store, dead, case.keys[:half], case.newer[:half])
    assert store.collect(TEAM, view, progress=Counted()) == half, "rows of a publisher that died are left"
    must_conflict(lambda: load(store, dead, case.keys[half:], case.newer[half:]), what="more rows of a collected generation")
    must_conflict(lambda: store.flip(dead, expected=live), what="a flip to a collected generation")
    assert store.rows(dead, case.keys) == [None] * len(case.keys), "a refused load left rows behind"
    publish(store, case, view, case.newer)


def a_discarded_generation_leaves_nothing_and_may_be_published_again(store: OnlineStore, case: Case) -> None:
    for something_is_live in (False, True):
        view = new_view()
        if something_is_live:
            publish(store, case, view, case.rows)
        edition = store.claim(make_edition(case, view, case.newer))
        load(store, edition, case.keys, case.newer)
        assert store.discard(edition) == len(case.keys), "rows of a discarded generation are not counted"
        assert store.rows(edition, case.keys) == [None] * len(case.keys), "rows of a discarded generation are left"
        must_conflict(partial(load, store, edition, case.keys, case.newer), what="more rows of a discarded generation")
        live = publish(store, case, view, case.newer).current
        assert store.discard(live) == 0, "the live generation was discarded"
        assert store.rows(live, case.keys) == case.newer, "rows are missing of what was discarded before"


def a_load_of_another_life_is_a_conflict(store: OnlineStore, case: Case) -> None:
    view = new_view()
    edition = replace(store.claim(make_edition(case, view, case.rows)), life="another life")
    must_conflict(lambda: load(store, edition, case.keys, case.rows), what="rows of a generation claimed before the server was emptied")
    must_conflict(lambda: store.flip(edition, expected=None), what="a generation claimed before the server was emptied")
    assert store.rows(edition, case.keys) == [None] * len(case.keys), "a refused load left rows behind"


def a_late_load_never_goes_over_a_delta(store: OnlineStore, case: Case) -> None:
    view = new_view()
    live = publish(store, case, view, case.rows)
    extended = replace(live.current, deltas=("d" * 64,))
    apply(store, extended, case.keys, case.newer, live)
    store.flip(extended, expected=live)
    must_conflict(lambda: load(store, live.current, case.keys, case.rows), what="a load of rows that a delta has replaced")
    assert store.rows(extended, case.keys) == case.newer, "a late load put rows over a delta's"


def a_load_may_be_done_again(store: OnlineStore, case: Case) -> None:
    view, half = new_view(), len(case.keys) // 2
    edition = store.claim(make_edition(case, view, case.rows))
    load(store, edition, case.keys[:half], case.rows[:half])
    progress = Counted()
    for _ in range(2):
        load(store, edition, case.keys, case.rows, progress)
    assert store.rows(edition, case.keys) == case.rows, "rows are missing after a load was done again"
    assert [count for count, _ in progress.seen].count(len(case.keys)) == 2, "a load that finds its rows does not say that it is done"


def acknowledged_rows_are_counted(store: OnlineStore, case: Case) -> None:
    view = new_view()
    edition = store.claim(make_edition(case, view, case.rows))
    assert store.count(edition) == 0, "rows are counted before any was loaded"
    load(store, edition, case.keys, case.rows)
    assert store.count(edition) == len(case.keys), f"{store.count(edition)} rows are counted instead of {len(case.keys)}"


def a_replayed_generation_is_not_dropped_by_the_wall(store: OnlineStore, case: Case) -> None:
    schema = RowSchema(7, (Column("number", "f32"),))
    then = np.array([10**15, 10**15 + schema.unit_us])  # 2001
    rows = split_rows(pack(schema, {"number": Values(np.ones(2))}, then))
    edition = replace(make_edition(case, new_view(), rows), schema=schema, ttl_us=86_400_000_000, as_of_us=10**15)
    claimed = store.claim(edition)
    load(store, claimed, [b"s3", b"s4"], rows)
    live = store.flip(claimed, expected=None)
    apply(store, live.current, case.keys[:2], rows, live)
    assert store.rows(live.current, [*case.keys[:2], b"s3", b"s4"]) == [*rows, *rows], "rows of a replayed past are gone"


def two_views_do_not_meet(store: OnlineStore, case: Case) -> None:
    first, second = new_view(), new_view()
    one, other = publish(store, case, first, case.rows), publish(store, case, second, case.newer)
    store.collect(TEAM, second, progress=Counted())
    assert store.rows(one.current, case.keys) == case.rows, "another view's rows or collection changed this one's"
    assert store.rows(other.current, case.keys) == case.newer, "another view's rows changed this one's"


def progress_counts_acknowledged_rows(store: OnlineStore, case: Case) -> None:
    view, progress = new_view(), Counted()
    edition = store.claim(make_edition(case, view, case.rows))
    load(store, edition, case.keys, case.rows, progress)
    done = [count for count, _ in progress.seen]
    assert done == sorted(set(done)), f"progress goes {done}"
    assert progress.seen[-1] == (len(case.keys), len(case.keys)), f"progress ends at {progress.seen[-1]}"


Rule = Callable[[OnlineStore, Case], None]
RULES: Mapping[str, Rule] = {
    rule.__name__.replace("_", " "): rule
    for rule in (
        an_unknown_view_has_no_state,
        rows_come_back_byte_for_byte,
        an_equal_content_gets_its_token_again,
        nothing_is_live_before_the_flip,
        a_flip_keeps_the_generation_before,
        a_flip_that_forgets_keeps_no_generation_before,
        a_flip_may_be_repeated,
        a_flip_over_something_else_is_a_conflict,
        a_flip_to_an_unclaimed_generation_is_a_conflict,
        a_newer_row_replaces_an_older_and_not_the_reverse,
        an_equal_event_time_is_replaced,
        a_delta_adds_unknown_keys,
        a_delta_on_another_state_is_a_conflict,
        collection_keeps_the_live_and_the_previous,
        a_half_loaded_generation_is_collected_and_cannot_go_on,
        a_discarded_generation_leaves_nothing_and_may_be_published_again,
        a_load_of_another_life_is_a_conflict,
        a_late_load_never_goes_over_a_delta,
        a_load_may_be_done_again,
        acknowledged_rows_are_counted,
        a_replayed_generation_is_not_dropped_by_the_wall,
        two_views_do_not_meet,
        progress_counts_acknowledged_rows,
    )
}


def check_online_store(store: OnlineStore, *, seed: int = 0, cases: Path | None = None) -> list[str]:
    """Every broken rule as `case: rule: what was found`; empty means that the store conforms."""
    problems = []
    for case in [*generated_cases(seed), *(read_cases(cases) if cases else ())]:
        for name, rule in RULES.items():
            try:
                rule(store, case)
            except (AssertionError, PlatformError) as err:
                problems.append(f"{case.name}: {name}: {err}")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the store conforms, 1 when it does not."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.testing.online_store", description="Check an online store.")
    parser.add_argument("url", help="of a publisher: redis://, redis+cluster://, rocksdb:///folder, or a plug-in's")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated cases")
    parser.add_argument("--cases", type=Path, default=None, help="folder of *.segment files")
    given = parser.parse_args(arguments)
    problems = check_online_store(open_store(given.url), seed=given.seed, cases=given.cases)
    sys.stdout.write("\n".join([*problems, f"{len(problems)} broken rules"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
