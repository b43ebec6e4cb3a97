"""Usage records from looks at a Workload: every second is found, whenever somebody looks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.compute.prices import UNSEEN
from tiffin.compute.usage import DAY_US, SECOND_US, Tracked, Who, advance, day_of, gone, look
from tiffin.core.units import from_us
from tiffin.manifests.usage import UsageRecord

NOON = 20_000 * 86_400 + 43_200
WHO = Who(team="network", run_id="run-1", assets=("network/airports",))


def text(second: int) -> str:
    """As Kubernetes writes it."""
    return from_us(second * SECOND_US).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Life:
    """A Workload's true history: when it held its quota, in seconds; the last time it finished or not."""

    created: int
    held: tuple[tuple[int, int], ...]
    finishes: bool

    def at(self, now: int) -> dict[str, object]:
        """What the API says at a second, in Kueue's way: what it held is forgotten, the sum of seconds and the last changes are kept."""
        begun = [span for span in self.held if span[0] <= now]
        ended = [span for span in begun if span[1] <= now]
        over = self.finishes and len(ended) == len(self.held)
        evicted = ended[:-1] if over else ended
        admitted = bool(begun) and (over or len(ended) < len(begun))
        conditions: list[dict[str, str]] = []
        if begun:
            changed = begun[-1][0] if admitted else ended[-1][1]
            conditions.append({"type": "Admitted", "status": "True" if admitted else "False", "lastTransitionTime": text(changed)})
        if evicted:
            again = "False" if admitted else "True"
            why = "QuotaReserved" if admitted else "Preempted"
            conditions.append({"type": "Evicted", "status": again, "reason": why, "lastTransitionTime": text(evicted[-1][1])})
            conditions.append({"type": "Requeued", "status": "True", "reason": "Preempted", "lastTransitionTime": text(evicted[-1][1])})
        if over:
            conditions.append({"type": "Finished", "status": "True", "reason": "Succeeded", "lastTransitionTime": text(ended[-1][1])})
        status: dict[str, object] = {"conditions": conditions}
        if evicted:
            status["accumulatedPastExecutionTimeSeconds"] = sum(end - start for start, end in evicted)
        if admitted:
            status["admission"] = {"clusterQueue": "team-network", "podSetAssignments": [assignment()]}
        return {
            "metadata": {"uid": "w1", "namespace": "team-network", "name": "job-a", "creationTimestamp": text(self.created)},
            "spec": {"podSets": [{"count": 2, "template": {"spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]}}}]},
            "status": status,
        }


def assignment() -> dict[str, object]:
    return {"name": "main", "flavors": {"cpu": "spot"}, "resourceUsage": {"cpu": "2"}, "count": 2}


def looked_at(life: Life, seconds: list[int]) -> tuple[Tracked | None, list[UsageRecord]]:
    """A collector's looks, one after the other."""
    tracked: Tracked | None = None
    made: list[UsageRecord] = []
    for second in seconds:
        tracked, new = advance(tracked, look(life.at(second)), WHO, now_us=second * SECOND_US)
        # what is kept between two ticks is JSON
        tracked = Tracked.from_bytes(tracked.to_bytes(), name="memory")
        made += new
    return tracked, made


def spans(made: list[UsageRecord]) -> list[tuple[int, int]]:
    return [(one.start_us // SECOND_US, one.end_us // SECOND_US) for one in made]


def test_a_step_that_ran_is_one_record() -> None:
    life = Life(NOON, ((NOON + 5, NOON + 65),), finishes=True)

    _, (record,) = looked_at(life, [NOON, NOON + 10, NOON + 100, NOON + 200])

    assert spans([record]) == [(NOON + 5, NOON + 65)]
    assert (record.ended, record.team, record.cluster_queue) == ("finished", "network", "team-network")
    assert [(one.flavor, one.resource, one.milli) for one in record.amounts] == [("spot", "cpu", 2000)]


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([NOON + 1, NOON + 50, NOON + 110, NOON + 200], id="while it waits"),
        pytest.param([NOON + 1, NOON + 110, NOON + 200], id="when it runs again"),
        pytest.param([NOON + 1, NOON + 200], id="when it is over"),
    ],
)
def test_a_preempted_step_is_billed_for_what_it_held_and_not_for_its_wait(looks: list[int]) -> None:
    life = Life(NOON, ((NOON, NOON + 30), (NOON + 100, NOON + 160)), finishes=True)

    _, made = looked_at(life, looks)

    assert spans(made) == [(NOON, NOON + 30), (NOON + 100, NOON + 160)]
    assert [(one.ended, one.reason) for one in made] == [("evicted", "Preempted"), ("finished", "")]
    assert not any(one.guessed for one in made)


def test_seconds_that_nobody_saw_are_billed_by_kueues_own_sum_and_say_so() -> None:
    life = Life(NOON, ((NOON, NOON + 30), (NOON + 100, NOON + 160)), finishes=True)

    _, made = looked_at(life, [NOON + 300])

    assert [(one.guessed, one.end_us - one.start_us) for one in made] == [(True, 30 * SECOND_US), (False, 60 * SECOND_US)]
    assert {amount.flavor for one in made for amount in one.amounts} == {"spot"}


def test_what_was_never_seen_admitted_is_billed_as_what_it_asked_for() -> None:
    life = Life(NOON, ((NOON, NOON + 30),), finishes=False)

    _, (record,) = looked_at(life, [NOON + 40])

    assert [(one.flavor, one.resource, one.milli) for one in record.amounts] == [(UNSEEN, "cpu", 2000)]


def test_quota_reserved_is_not_admitted() -> None:
    waiting = Life(NOON, ((NOON, NOON + 9),), finishes=False).at(NOON)
    waiting["status"] = {
        "admission": {"clusterQueue": "q", "podSetAssignments": [assignment()]},
        "conditions": [{"type": "QuotaReserved", "status": "True", "lastTransitionTime": text(NOON)}],
    }

    tracked, made = advance(None, look(waiting), WHO, now_us=(NOON + 60) * SECOND_US)

    assert (made, tracked.since_us) == ([], None)


def test_a_long_step_is_told_at_every_midnight() -> None:
    midnight = (NOON // 86_400 + 1) * 86_400
    life = Life(NOON, ((NOON, NOON + 3 * 86_400),), finishes=True)

    _, early = looked_at(life, [NOON + 1, midnight + 60])
    _, whole = looked_at(life, [NOON + 1, midnight + 60, NOON + 4 * 86_400])

    assert spans(early) == [(NOON, midnight)]
    assert [day_of(one.start_us) for one in whole] == [day_of(NOON * SECOND_US + day * DAY_US) for day in range(4)]
    assert sum(one.end_us - one.start_us for one in whole) == 3 * DAY_US
    assert [one.number for one in whole] == [0, 1, 2, 3]


def test_kueue_counts_from_nothing_again_when_the_longest_run_time_is_over() -> None:
    first = Life(NOON, ((NOON, NOON + 10), (NOON + 20, NOON + 32)), finishes=False)
    tracked, made = looked_at(first, [NOON + 1, NOON + 15, NOON + 21])
    stopped = first.at(NOON + 40)
    stopped["status"]["accumulatedPastExecutionTimeSeconds"] = 12  # type: ignore[index]
    stopped["status"]["conditions"][1]["reason"] = "Deactivated"  # type: ignore[index]

    _, more = advance(tracked, look(stopped), WHO, now_us=(NOON + 40) * SECOND_US)

    assert spans(made + more) == [(NOON, NOON + 10), (NOON + 20, NOON + 32)]


def test_a_workload_that_was_deleted_is_billed_until_it_was_missed() -> None:
    tracked, _ = looked_at(Life(NOON, ((NOON, NOON + 99),), finishes=True), [NOON + 10])
    assert tracked is not None

    (record,) = gone(tracked, now_us=(NOON + 25) * SECOND_US)

    assert spans([record]) == [(NOON, NOON + 25)]
    assert record.ended == "deleted"


def test_a_record_that_runs_backwards_is_refused() -> None:
    _, (record,) = looked_at(Life(NOON, ((NOON, NOON + 9),), finishes=True), [NOON + 10])

    with pytest.raises(ValueError, match="before it starts"):
        UsageRecord.model_validate({**record.model_dump(), "end_us": record.start_us - 1})


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """Up to five admissions over some days."""
    second = NOON
    held: list[tuple[int, int]] = []
    for _ in range(draw(st.integers(1, 5))):
        start = second + draw(st.integers(0, 50_000))
        second = start + draw(st.integers(1, 150_000))
        held.append((start, second))
        second += 1
    return Life(NOON, tuple(held), finishes=True)


@given(life=lives(), data=st.data())
def test_whenever_somebody_looks_the_seconds_add_up(life: Life, data: st.DataObject) -> None:
    last = life.held[-1][1]
    seconds = sorted(data.draw(st.lists(st.integers(NOON, last), max_size=12)))

    _, made = looked_at(life, [*seconds, last + 5])

    assert sum(one.end_us - one.start_us for one in made) == sum(end - start for start, end in life.held) * SECOND_US
    assert [one.number for one in made] == list(range(len(made)))
    assert all(one.start_us // DAY_US == (one.end_us - 1) // DAY_US for one in made)


@given(life=lives())
def test_who_looks_at_every_change_knows_every_stretch(life: Life) -> None:
    changes = sorted({second for span in life.held for second in span})

    _, made = looked_at(life, changes)

    whole: list[list[int]] = []
    for start, end in spans(made):
        if whole and whole[-1][1] == start and start % 86_400 == 0:
            whole[-1][1] = end
        else:
            whole.append([start, end])
    assert [tuple(one) for one in whole] == list(life.held)
