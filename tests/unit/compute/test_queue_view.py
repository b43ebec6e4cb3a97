"""The rows of `tiffin queue`: state, place, reason, and what would help."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.queue_worlds import NOW, make_queue, make_workload, make_world, quota, reclaiming, running
from tiffin.compute.admission_cycle import Rules
from tiffin.compute.forecast import History
from tiffin.compute.queue_change import changed, parse_change
from tiffin.compute.queue_unblock import starts_now
from tiffin.compute.queue_view import QueueView, Row, queue_metadata, view_queues
from tiffin.compute.world import ClusterQueue, Cohort, Condition, Flavor, LocalQueue, Workload
from tiffin.compute.world_pods import Taint


def view(*things: ClusterQueue | Workload | Flavor | Cohort, **priorities: int) -> QueueView:
    return view_queues(make_world(*things, priorities=priorities), History({"w": [60.0]}), now=NOW)


def row(found: QueueView, uid: str) -> Row:
    return next(one for one in found.rows if one.uid == uid)


def waits_for(message: str, reason: str = "WaitingForQuota") -> dict[str, Condition]:
    return {"QuotaReserved": Condition(False, reason, message, NOW)}


def test_who_waits_stands_in_the_order_of_admission_with_who_is_before_it() -> None:
    found = view(
        make_queue("q", 1),
        running(make_workload("busy", "q", 1)),
        make_workload("young", "q", 1, age_s=1),
        make_workload("old", "q", 1, age_s=50),
        make_workload("urgent", "q", 1, priority=9),
    )

    assert [(one.uid, one.position, one.behind) for one in found.rows if one.position] == [
        ("urgent", 1, ()),
        ("old", 2, ("urgent",)),
        ("young", 3, ("urgent", "old")),
    ]
    assert row(found, "young").held_by == ("busy",)
    assert row(found, "busy").state == "running"


def test_kueues_reason_is_told_in_words() -> None:
    message = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor any, 2 more needed"
    found = view(make_queue("q", 1), make_workload("w", "q", 3, conditions=waits_for(message)))

    assert row(found, "w").why == "waits for 2 more of cpu in flavor any"


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        pytest.param({"active": False}, "paused", id="paused"),
        pytest.param({"annotations": {"kueue.x-k8s.io/admission-gated-by": "boss"}}, "approval", id="approval"),
        pytest.param({"local_queue": "nowhere"}, "stopped", id="no queue"),
        pytest.param({"conditions": waits_for("Pending the preemption of 1 workload(s)")}, "preempting", id="preempting"),
        pytest.param({}, "waiting", id="waiting"),
    ],
)
def test_states(fields: dict[str, object], state: str) -> None:
    found = row(view(make_queue("q", 1), make_workload("w", "q", 1, **fields)), "w")

    assert found.state == state
    assert found.why


def test_a_stopped_queue_is_the_reason() -> None:
    world = make_world(make_queue("q", 1), make_workload("w", "q", 1))
    held = replace(world, local_queues={("ns", "q"): LocalQueue("ns", "q", "q", held=True)})

    found = row(view_queues(held, History(), now=NOW), "w")

    assert (found.state, found.why) == ("stopped", "LocalQueue q is stopped")
    assert found.expected is not None
    assert found.expected.start_s is None


def test_a_victim_names_who_took_its_quota() -> None:
    said = "Preempted to accommodate a workload (UID: new, JobUID: j) due to reclamation within the cohort; preemptor path: /all/mine"
    leaving = running(make_workload("old", "theirs", 2))
    conditions = {kind: Condition(True, "Preempted", said, NOW) for kind in ("Evicted", "Preempted")}
    leaving = replace(leaving, conditions={"QuotaReserved": leaving.conditions["QuotaReserved"], **conditions})

    found = row(view(make_queue("mine", 2), make_queue("theirs", 0), leaving, running(make_workload("new", "mine", 1))), "old")

    assert (found.state, found.preempted_by) == ("leaving", "new")


def helps(found: QueueView, uid: str) -> dict[str, str]:
    return {one.kind: one.what_if for one in row(found, uid).unblocks}


def test_what_would_help_is_told_only_when_it_would() -> None:
    """The smallest change of each kind; and each, tried as a what-if, does admit it."""
    gpu = Flavor("gpu", node_labels={"kind": "gpu"}, taints=(Taint("gpu", "yes", "NoSchedule"),))
    things = [
        make_queue("q", {"any": quota(2, borrow=0), "gpu": quota(4)}, preemption=reclaiming()),
        make_queue("idle", {"any": quota(9), "gpu": quota(0)}),
        gpu,
        running(make_workload("busy", "q", 2, priority=5)),
        make_workload("new", "q", 2, priority=1),
    ]
    world = make_world(*things, priorities={"low": 0, "mid": 3, "high": 6, "top": 9})
    found = helps(view_queues(world, History(), now=NOW), "new")

    assert found == {
        "priority": "priority:ns/new=high",
        "flavor": "flavor:ns/new=gpu",
        "borrow": "borrow:q/any:cpu=unlimited",
        "quota": "quota:q/any:cpu=4",
    }
    for text in found.values():
        assert starts_now(changed(world, [parse_change(text)]), "new", rules=Rules(), now=NOW) is not None


def test_nothing_is_proposed_to_who_is_about_to_start() -> None:
    assert row(view(make_queue("q", 4), make_workload("w", "q", 1)), "w").unblocks == ()


def test_a_change_that_evicts_says_how_many() -> None:
    found = view(
        make_queue("q", 2, preemption=reclaiming(), cohort=None),
        *(running(make_workload(f"busy{place}", "q", 1, priority=5)) for place in range(2)),
        make_workload("new", "q", 2, priority=1),
        high=9,
    )

    assert "preempting 2 steps" in row(found, "new").unblocks[0].words


def test_quota_lines_tell_own_borrowed_and_free() -> None:
    found = view(make_queue("a", 2), make_queue("b", 4), running(make_workload("w", "a", 3)), make_workload("x", "a", 9))

    lines = {line.queue: (line.used, line.quota, line.borrowed, line.free, line.waiting) for line in found.quotas}
    assert lines == {"a": (3000, 2000, 1000, 3000, 1), "b": (0, 4000, 0, 3000, 0)}


def test_one_team_alone_keeps_its_places() -> None:
    mine = make_workload("mine", "q", 1, labels={"tiffin.dev/team": "network"})
    found = view(make_queue("q", 1), running(make_workload("busy", "q", 1)), make_workload("first", "q", 1, age_s=5), mine)

    shown = found.of_team("network")

    assert [(one.uid, one.position, one.behind) for one in shown.rows] == [("mine", 2, ("first",))]
    assert [line.queue for line in shown.quotas] == ["q"]


def test_the_view_is_plain_json() -> None:
    found = view(make_queue("q", 1), running(make_workload("busy", "q", 1)), make_workload("w", "q", "1500m"))

    value = json.loads(json.dumps(found.to_json()))

    assert [step["job"] for step in value["steps"]] == ["w", "busy"]
    assert value["steps"][0]["asks"] == {"cpu": "1500m"}


def test_metadata_has_plain_values_and_nothing_empty() -> None:
    labels = {"dagster/run-id": "4f2a9c1e-aaaa", "tiffin.dev/step": "eta"}
    waiting = make_workload("w-1", "q", 1, labels=labels, age_s=30)
    found = queue_metadata(row(view(make_queue("q", 1), running(make_workload("busy", "q", 1)), waiting), "w-1"))

    assert found["kueue/queue"] == "q"
    assert found["kueue/position"] == 1
    assert found["kueue/wait_s"] == 30.0
    assert found["kueue/held_by"] == "busy"
    assert all(value is not None and value != "" for value in found.values())
    assert "kueue/evictions" not in found
