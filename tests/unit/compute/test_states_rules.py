"""Rules of the state machine that hold for every life, seen late, twice, in any order or not at all."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.step_case import Life
from tiffin.compute.cluster import Seen
from tiffin.compute.observation import observe
from tiffin.compute.states import FAILURES, Limits, Memory, State, Transition, step

FOR_EVER = Limits(start=timedelta(days=1000))
EVICTIONS = ["Preempted", "PodsReadyTimeout", "NodeFailures", "ClusterQueueStopped", "LocalQueueStopped", "AdmissionCheck"]


@dataclass(frozen=True)
class Turn:
    """One admission and how it ends; seconds of each part."""

    wait: int
    start: int
    work: int
    ends: str
    code: int | None
    shown: bool


TURNS = st.builds(
    Turn,
    wait=st.integers(0, 40_000),
    start=st.integers(0, 4_000),
    work=st.integers(0, 40_000),
    ends=st.sampled_from([*EVICTIONS, "paused"]),
    code=st.none() | st.sampled_from([0, 1, 137, 143]),
    shown=st.booleans(),
)


def live(turns: list[Turn], ending: str) -> Life:
    """Admitted and evicted again and again, and at the end what `ending` says; never a failure but for "failed"."""
    life = Life()
    for turn in turns:
        life.passes(turn.wait).queued().passes(turn.wait).admitted()
        if turn.shown:
            life.passes(turn.start).pod_made().passes(turn.start).pod_runs().passes(turn.work)
        life.paused() if turn.ends == "paused" else life.evicted(turn.ends, "its reason" if turn.ends != "Preempted" else "Preempted")
        life.passes(5).pods_gone(code=turn.code if turn.shown else None)
        if turn.ends == "paused":
            life.passes(turn.wait).resumed()
    life.queued()
    if ending != "queued":
        life.passes(10).admitted().pod_made().passes(3).pod_runs().passes(100)
    if ending == "succeeded":
        life.succeeded()
    if ending == "failed":
        life.failed()
    return life


SEEDS = st.integers(0, 2**32)
LIVES = st.builds(live, st.lists(TURNS, max_size=4), st.sampled_from(["queued", "running", "succeeded"]))


def looks(life: Life, seed: int) -> list[tuple[Seen, datetime]]:
    """A watcher's looks: each stream as late as it likes and never back, some moments not fresh, time going on."""
    chance = random.Random(seed)
    found = []
    at = [0, 0, 0]
    now = life.shots[0][3]
    for moment in range(len(life.shots)):
        if chance.random() < 0.3:
            continue
        now = max(now, life.shots[moment][3]) + timedelta(seconds=chance.choice([0, 0, 1, 50]))
        at = [chance.choice([old, moment, chance.randint(old, moment)]) for old in at]
        found.append((life.seen(*at, fresh=chance.random() < 0.7), now))
    found.append((life.seen(), max(now, life.shots[-1][3])))
    return found


def follow(seen: list[tuple[Seen, datetime]], limits: Limits, began: datetime) -> tuple[Memory, list[Transition]]:
    memory, told = Memory.begin("job-1", began), []
    for one, now in seen:
        memory, more = step(memory, observe(one), now, limits)
        told += more
    return memory, told


@given(LIVES, SEEDS)
def test_no_order_of_events_makes_a_failure_of_a_wait_or_an_eviction(life: Life, seed: int) -> None:
    memory, told = follow(looks(life, seed), FOR_EVER, life.shots[0][3])

    assert [one.words for one in told if one.failed] == []
    assert memory.state not in FAILURES


@given(LIVES, SEEDS)
def test_late_and_lost_events_end_where_the_truth_is(life: Life, seed: int) -> None:
    """Whatever was seen on the way: the last look decides, and counts every eviction."""
    memory, _ = follow(looks(life, seed), FOR_EVER, life.shots[0][3])
    truth, _ = follow([(life.seen(), life.at)], FOR_EVER, life.shots[0][3])

    same = {State.QUEUED: State.REQUEUED}
    assert same.get(memory.state, memory.state) == same.get(truth.state, truth.state)
    assert memory.evictions == life.evictions


@given(LIVES, SEEDS)
def test_looking_twice_tells_nothing_twice(life: Life, seed: int) -> None:
    seen = looks(life, seed)
    once = follow(seen, FOR_EVER, life.shots[0][3])
    twice = follow([one for pair in zip(seen, seen, strict=True) for one in pair], FOR_EVER, life.shots[0][3])

    assert twice == once


@given(st.lists(TURNS, max_size=3), st.sampled_from(["failed", "gone"]), SEEDS)
def test_an_end_stays_an_end(turns: list[Turn], how: str, seed: int) -> None:
    life = live(turns, "failed" if how == "failed" else "running")
    last = life.seen() if how == "failed" else Seen()
    memory, told = follow([(life.seen(), life.at), (last, life.at)], FOR_EVER, life.shots[0][3])
    assert told[-1].failed

    for one, now in looks(life, seed):
        after, more = step(memory, observe(one), now, FOR_EVER)
        assert (after, more) == (memory, [])


@given(st.lists(TURNS, max_size=4), SEEDS)
def test_a_real_failure_is_told_exactly_once(turns: list[Turn], seed: int) -> None:
    life = live(turns, "failed")

    _, told = follow(looks(life, seed), FOR_EVER, life.shots[0][3])

    assert [one.state for one in told if one.failed] == [State.FAILED]


@given(st.lists(TURNS, max_size=4), st.integers(1, 3000))
def test_the_start_timeout_counts_admitted_time_alone(turns: list[Turn], limit: int) -> None:
    """Against a plain count over the life itself: seconds from the look that saw an admission to the first pod's start."""
    life = live(turns, "running")
    limits = Limits(start=timedelta(seconds=limit))
    seen = [(life.seen(index, index, index), shot[3]) for index, shot in enumerate(life.shots)]

    _, told = follow(seen, limits, life.shots[0][3])

    late = overdue(life, limit)
    assert [one.at for one in told if one.failed] == ([late] if late is not None else [])


def overdue(life: Life, limit: int) -> datetime | None:
    """The first moment at which an admission has gone on for `limit` seconds without a pod that ever ran in it."""
    since: datetime | None = None
    for _, workload, pods, now in life.shots:
        conditions = {one["type"]: one["status"] for one in workload["status"]["conditions"]} if workload else {}
        holds = conditions.get("Admitted") == "True" and conditions.get("Evicted") != "True" and (workload or {})["spec"]["active"]
        if not holds:
            since = None
            continue
        if any(pod["status"]["phase"] != "Pending" and "deletionTimestamp" not in pod["metadata"] for pod in pods.values()):
            return_now = False
            since = now
        else:
            return_now = since is not None and (now - since).total_seconds() >= limit
            since = since or now
        if return_now:
            return now
    return None


@given(LIVES, SEEDS)
def test_time_is_waited_or_held_and_never_both(life: Life, seed: int) -> None:
    seen = looks(life, seed)
    memory, told = follow(seen, FOR_EVER, life.shots[0][3])
    end = next((one.at for one in told if one.state is State.SUCCEEDED), seen[-1][1])

    assert abs(memory.waited(end) + memory.held(end) - (end - life.shots[0][3]).total_seconds()) < 0.001
