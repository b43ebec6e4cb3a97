"""The queues run forward: what must hold at every moment, in any world."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.queue_worlds import NOW, make_queue, make_workload, make_world, random_world, reclaiming, running
from tiffin.compute.admission_cycle import Rules
from tiffin.compute.admission_simulate import Event, Timeline, simulate
from tiffin.compute.admission_tree import Tree
from tiffin.compute.world import Condition, FlavorResource, Workload, World

INSTANT = Rules(retry_s=0.0)


def play(seed: int, *, fair: bool = False, grace_s: float = 0.0) -> tuple[World, Timeline]:
    world, scenario = random_world(seed)
    by_name = {workload.name: workload for workload in world.workloads.values()}
    durations = {by_name[job.name].uid: job.duration for job in scenario.jobs}
    return world, simulate(world, durations, now=NOW, rules=Rules(fair_sharing=fair, retry_s=0.0), grace_s=grace_s)


def moments(world: World, timeline: Timeline) -> Iterator[tuple[Event, dict[str, dict[FlavorResource, int]]]]:
    """After each event, who uses what, added up anew from the events; an evicted one holds its quota until it is admitted again."""
    holding: dict[str, tuple[str, dict[FlavorResource, int]]] = {}
    for event in timeline.events:
        if event.what == "admitted":
            asked = world.workloads[event.uid].requests()
            holding[event.uid] = (event.queue, {(event.flavors[name], name): amount for name, amount in asked.items()})
        else:
            holding.pop(event.uid, None)
        used: dict[str, dict[FlavorResource, int]] = {}
        for queue, usage in holding.values():
            for what, amount in usage.items():
                used.setdefault(queue, {})[what] = used.get(queue, {}).get(what, 0) + amount
        yield event, used


@settings(max_examples=60)
@given(st.integers(0, 5000), st.booleans())
def test_quota_is_never_exceeded_and_limits_are_kept(seed: int, fair: bool) -> None:
    world, timeline = play(seed, fair=fair)
    every = {what for queue in world.cluster_queues.values() for what in queue.quotas}

    for _, used in moments(world, timeline):
        tree = Tree(world)
        for name, usage in used.items():
            tree.queues[name].take_all(usage)
        for what in every:
            lent = {node.name: max(0, node.usage.get(what, 0) - node.subtree.get(what, 0)) for node in tree.queues.values()}
            for root in {node.root() for node in tree.queues.values()}:
                assert root.usage.get(what, 0) <= root.subtree.get(what, 0)
            for name, queue in world.cluster_queues.items():
                limit = queue.quotas[what].borrowing_limit
                assert limit is None or lent[name] <= limit
                assert tree.queues[name].free(what) >= 0


@settings(max_examples=60)
@given(st.integers(0, 5000), st.booleans(), st.sampled_from([0.0, 5.0]))
def test_everybody_ends_or_could_never_have_started(seed: int, fair: bool, grace_s: float) -> None:
    """In the end nothing runs, so whoever still waits does not fit into queues that are empty, or stands behind such a head."""
    world, timeline = play(seed, fair=fair, grace_s=grace_s)
    assume(not timeline.in_circles)
    ended = {event.uid for event in timeline.events if event.what == "finished"}

    assert ended | set(timeline.stuck) == set(world.workloads)
    assert not ended & set(timeline.stuck)
    for uid in timeline.stuck:
        workload = world.workloads[uid]
        queue = world.cluster_queues[workload.local_queue]
        alone = simulate(World(**{**fields(world), "workloads": {uid: workload}}), {uid: 1.0}, now=NOW, rules=INSTANT)
        assert queue.strategy == "StrictFIFO" or alone.stuck == (uid,)


def fields(world: World) -> dict[str, object]:
    return {name: getattr(world, name) for name in world.__slots__}


@settings(max_examples=60)
@given(st.integers(0, 5000), st.booleans())
def test_the_story_of_each_is_admission_then_eviction_or_end(seed: int, fair: bool) -> None:
    world, timeline = play(seed, fair=fair)
    assume(not timeline.in_circles)

    for uid in world.workloads:
        story = [event.what for event in timeline.events if event.uid == uid]
        assert all(what == "admitted" for what in story[::2])
        assert all(what == "evicted" for what in story[1:-1:2])
        assert story == [] or story[-1] == "finished"


@settings(max_examples=60)
@given(st.integers(0, 2000))
def test_the_same_world_gives_the_same_story_in_any_order(seed: int) -> None:
    world, _ = random_world(seed)
    backwards = World(**{**fields(world), "workloads": dict(reversed(world.workloads.items()))})
    durations = {uid: 10.0 + place for place, uid in enumerate(sorted(world.workloads))}

    assert simulate(world, durations, now=NOW) == simulate(backwards, durations, now=NOW)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 6), st.integers(0, 6))
def test_more_quota_never_takes_a_lone_workloads_place(asks: int, owns: int, idle: int, more: int) -> None:
    def starts(quota: int, lent: int) -> bool:
        world = make_world(make_queue("q", quota), make_queue("other", lent), make_workload("x", "q", asks))
        return "x" in simulate(world, {}, now=NOW).starts()

    assert starts(owns, idle) == (asks <= owns + idle)
    assert starts(owns, idle) <= starts(owns + more, idle)
    assert starts(owns, idle) <= starts(owns, idle + more)


@given(st.lists(st.tuples(st.floats(1, 50), st.integers(0, 3)), min_size=1, max_size=8))
def test_a_queue_for_one_at_a_time_is_a_line(jobs: list[tuple[float, int]]) -> None:
    """The oracle: sorted by priority and age, each starts when the one before has ended and Kueue has looked again."""
    workloads = [make_workload(f"w{place}", "q", 1, priority=rank, age_s=100 - place) for place, (_, rank) in enumerate(jobs)]
    durations = {f"w{place}": seconds for place, (seconds, _) in enumerate(jobs)}
    timeline = simulate(make_world(make_queue("q", 1), *workloads), durations, now=NOW, rules=Rules(retry_s=1.0))

    at, expected = 0.0, {}
    for workload in sorted(workloads, key=lambda one: (-one.priority, one.created)):
        expected[workload.uid] = at
        at += durations[workload.uid] + 1.0
    assert {uid: round(start, 6) for uid, start in timeline.starts().items()} == {uid: round(start, 6) for uid, start in expected.items()}


def test_a_victim_holds_its_quota_until_its_pods_are_gone_and_comes_back_later() -> None:
    world = make_world(
        make_queue("q", 4, preemption=reclaiming(), cohort=None),
        running(make_workload("old", "q", 4, age_s=50)),
        make_workload("new", "q", 4, priority=9),
    )

    timeline = simulate(world, {"old": 100.0, "new": 20.0}, now=NOW, rules=INSTANT, grace_s=30.0)

    assert [(event.at_s, event.what, event.uid) for event in timeline.events] == [
        (0.0, "evicted", "old"),
        (30.0, "admitted", "new"),
        (50.0, "finished", "new"),
        (50.0, "admitted", "old"),
        (150.0, "finished", "old"),
    ]


def test_arrivals_and_backoffs_enter_when_they_are_due() -> None:
    late = make_workload("late", "q", 1)
    held = {"Requeued": Condition(False, "PodsReadyTimeout", "", NOW)}
    backing_off = make_workload("backing off", "q", 1, conditions=held, requeue_at=NOW.replace(second=40))
    world = make_world(make_queue("q", 4), backing_off)

    timeline = simulate(world, {}, now=NOW, arrivals={15.0: [late]})

    assert timeline.starts() == {"late": 15.0, "backing off": 40.0}


def test_it_stops_when_it_is_told_to() -> None:
    workloads: list[Workload] = [make_workload(f"w{place}", "q", 1, age_s=9 - place) for place in range(5)]

    timeline = simulate(
        make_world(make_queue("q", 1), *workloads), dict.fromkeys(["w0", "w1", "w2", "w3", "w4"], 10.0), now=NOW, until_s=25.0
    )

    assert sorted(timeline.starts()) == ["w0", "w1", "w2"]


def test_workloads_that_evict_each_other_for_ever_are_found_out() -> None:
    """By its share the light one goes first, by priority the heavy one: Kueue goes round with fair sharing."""
    rules = reclaiming()
    world = make_world(
        make_queue("a", 0, preemption=rules, strategy="StrictFIFO"), make_queue("b", 0, preemption=rules), make_queue("lender", 5),
        make_workload("light", "b", 4, priority=1), make_workload("other", "a", 5, priority=9), make_workload("heavy", "b", 5, priority=5),
    )  # fmt: skip

    timeline = simulate(world, {"light": 10.0, "heavy": 10.0, "other": 10.0}, now=NOW, rules=Rules(fair_sharing=True, retry_s=0.0))

    assert "light" in timeline.in_circles
    assert len(timeline.events) < 200
