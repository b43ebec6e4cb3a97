"""The picture of what the watches bring: whoever reads it sees each Job's own objects, at one moment."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.step_case import make_job, make_pod, make_workload
from tiffin.compute.cluster import Seen
from tiffin.compute.picture import Picture

SPACE = "team-network"
JOBS, WORKLOADS, PODS = ((SPACE, kind) for kind in ("Job", "Workload", "Pod"))


def versioned(item: dict[str, Any], version: int) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "resourceVersion": str(version)}}


def test_a_jobs_objects_are_found_by_its_name() -> None:
    picture = Picture()
    picture.put(JOBS, make_job())
    picture.put(WORKLOADS, make_workload())
    picture.put(PODS, make_pod(1))
    picture.put(PODS, make_pod(2, job="job-of-another", name="other"))

    found = picture.see(SPACE, "step")

    assert found.job is not None
    assert [one["metadata"]["uid"] for one in (found.job, *found.workloads, *found.pods)] == ["job-1", "workload-1", "pod-1"]
    assert found.fresh


def test_objects_that_come_before_their_job_are_not_lost() -> None:
    picture = Picture()
    picture.put(WORKLOADS, make_workload())
    picture.put(JOBS, make_job())

    assert len(picture.see(SPACE, "step").workloads) == 1


def test_a_namesakes_objects_are_its_own() -> None:
    picture = Picture()
    picture.put(JOBS, make_job())
    picture.put(PODS, make_pod(1))
    picture.put(JOBS, make_job(uid="job-2"))
    picture.remove(JOBS, make_job())  # the deletion of the first comes late

    found = picture.see(SPACE, "step")

    assert found.job is not None
    assert found.job["metadata"]["uid"] == "job-2"
    assert found.pods == ()


def test_a_job_just_made_is_there_before_the_watch_brings_it() -> None:
    picture = Picture()
    picture.expect(versioned(make_job(), 7))
    picture.replace(JOBS, [], "5")  # a list that was made before it
    assert picture.see(SPACE, "step").job is not None

    picture.replace(JOBS, [], "9")
    assert picture.see(SPACE, "step").job is None


def test_a_job_that_is_gone_already_is_not_expected() -> None:
    picture = Picture()
    picture.put(JOBS, make_job())
    picture.remove(JOBS, make_job())
    picture.expect(make_job())

    assert picture.see(SPACE, "step").job is None


def test_an_expected_job_does_not_replace_a_newer_one() -> None:
    picture = Picture()
    newer = make_job()
    newer["spec"]["suspend"] = False
    picture.put(JOBS, newer)
    picture.expect(make_job())

    assert picture.see(SPACE, "step").job == newer


def test_a_broken_stream_is_told_until_it_is_listed_again() -> None:
    picture = Picture()
    picture.put(JOBS, make_job())
    picture.stale(PODS)
    assert not picture.see(SPACE, "step").fresh
    assert picture.see("team-fleet", "step").fresh

    picture.replace(PODS, [], "1")
    assert picture.see(SPACE, "step").fresh


def test_listeners_are_told_which_job_changed_and_a_broken_one_blinds_nobody() -> None:
    picture = Picture()
    told: list[tuple[str, str]] = []

    def broken(_namespace: str, _name: str) -> None:
        raise RuntimeError("a listener's fault")

    picture.subscribe(broken)
    stop = picture.subscribe(lambda *owner: told.append(owner))
    picture.put(WORKLOADS, make_workload())
    picture.put(PODS, make_pod(1))
    stop()
    picture.put(PODS, make_pod(1))

    assert told == [(SPACE, "step")] * 2


def test_waiting_ends_with_a_change() -> None:
    picture = Picture()
    before = picture.wait(-1, 0)
    threading.Timer(0.05, lambda: picture.put(JOBS, make_job())).start()

    assert picture.wait(before, 30) == before + 1
    assert picture.wait(before + 1, 0.01) == before + 1


KINDS = ["Job", "Workload", "Pod"]
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "replace"]), st.sampled_from(["Job", "Workload", "Pod"]), st.integers(0, 3), st.integers(0, 2)
    ),
    max_size=30,
)


@given(OPERATIONS)
def test_whatever_came_the_picture_agrees_with_plain_dictionaries(operations: list[tuple[str, str, int, int]]) -> None:
    picture = Picture()
    truth: dict[str, dict[str, dict[str, Any]]] = {"Job": {}, "Workload": {}, "Pod": {}}
    for version, (what, kind, number, owner) in enumerate(operations, start=1):
        item = versioned(make(kind, number, owner), version)
        uid = item["metadata"]["uid"]
        if what == "put":
            picture.put((SPACE, kind), item)
            truth[kind][uid] = item
        elif what == "remove" and uid in truth[kind]:
            picture.remove((SPACE, kind), truth[kind].pop(uid))
        elif what == "replace":
            kept = {name: one for name, one in truth[kind].items() if int(one["metadata"]["resourceVersion"]) % 2 or name == uid}
            truth[kind] = kept
            picture.replace((SPACE, kind), list(kept.values()), str(version))

    for owner in range(3):
        found = picture.see(SPACE, f"step-{owner}")
        job = truth["Job"].get(f"job-{owner}")
        assert found.job == job
        for kind, shown in (("Workload", found.workloads), ("Pod", found.pods)):
            mine = [one for one in truth[kind].values() if one["metadata"]["ownerReferences"][0]["uid"] == f"job-{owner}"]
            expected = sorted(mine, key=uid_of) if job is not None else []
            assert sorted(shown, key=uid_of) == expected
    assert isinstance(picture.see(SPACE, "none"), Seen)


def make(kind: str, number: int, owner: int) -> dict[str, Any]:
    if kind == "Job":
        return make_job(f"step-{owner}", uid=f"job-{owner}")
    if kind == "Workload":
        return make_workload(job=f"job-{owner}", name=f"step-{owner}", uid=f"workload-{owner}-{number}")
    return {**make_pod(number, job=f"job-{owner}", name=f"step-{owner}"), "metadata": pod_meta(number, owner)}


def pod_meta(number: int, owner: int) -> dict[str, Any]:
    meta: dict[str, Any] = make_pod(number, job=f"job-{owner}", name=f"step-{owner}")["metadata"]
    return {**meta, "uid": f"pod-{owner}-{number}"}


def uid_of(item: Any) -> str:
    return str(item["metadata"]["uid"])
