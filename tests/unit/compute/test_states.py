"""The life of a step: what is told, what ends it, and that nothing else does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.step_case import NEVER, WAITS, Life, make_job
from tiffin.compute.cluster import Seen
from tiffin.compute.messages import Why
from tiffin.compute.observation import observe
from tiffin.compute.states import Limits, Memory, State, Transition, step

LIMITS = Limits(start=timedelta(minutes=5), refuse=timedelta(minutes=5), lost=timedelta(seconds=60))


class Watcher:
    """Looks at a life and keeps what it was told."""

    def __init__(self, life: Life, limits: Limits = LIMITS) -> None:
        self.life, self.limits = life, limits
        self.memory = Memory.begin("job-1", life.at)
        self.told: list[Transition] = []

    def look(self, seen: Seen | None = None, *, position: int | None = None) -> list[Transition]:
        found = observe(self.life.seen() if seen is None else seen, position=position)
        self.memory, told = step(self.memory, found, self.life.at, self.limits)
        self.told += told
        return told

    @property
    def states(self) -> list[State]:
        return [one.state for one in self.told]


def test_an_ordinary_life_is_told_once_and_in_order() -> None:
    life = Life().passes(1).queued()
    watcher = Watcher(life)

    watcher.look(position=2)
    life.passes(90).admitted()
    watcher.look()
    watcher.look()
    life.pod_made().pod_runs()
    watcher.look()
    life.passes(600).succeeded()
    watcher.look()

    assert watcher.states == [State.QUEUED, State.ADMITTED, State.RUNNING, State.SUCCEEDED]
    assert watcher.told[0].words == "queued in queue default, position 3: waits for 2 more of cpu in flavor big"
    assert watcher.told[1].words == "admitted by network (flavor big), waited 1 min 30 s"
    assert watcher.memory.summary(life.at) == {"kueue/wait_s": 90.0, "kueue/evictions": 0, "kueue/flavor": "big"}
    assert watcher.memory.held(life.at) == 600


def test_a_preempted_step_is_queued_again_and_finishes() -> None:
    life = Life().queued().admitted().pod_made().pod_runs()
    watcher = Watcher(life)
    watcher.look()

    life.passes(10).evicted()
    evicting = watcher.look()[0]
    life.pods_gone(code=143)
    watcher.look()
    life.passes(30).queued()
    watcher.look()
    life.admitted().pod_made().pod_runs()
    watcher.look()
    life.succeeded()
    watcher.look()

    assert watcher.states == [State.RUNNING, State.EVICTING, State.REQUEUED, State.REQUEUED, State.RUNNING, State.SUCCEEDED]
    assert "reclamation within the cohort" in evicting.words
    assert evicting.preemptor is not None
    assert (evicting.preemptor.job_uid, evicting.preemptor.queue) == ("boss-job", "fleet")
    assert "keeps its place" in watcher.told[2].words
    assert not any(one.failed for one in watcher.told)
    assert watcher.memory.summary(life.at)["kueue/evictions"] == 1


def test_an_eviction_between_two_looks_is_told_afterwards() -> None:
    life = Life().queued().admitted().pod_made().pod_runs()
    watcher = Watcher(life)
    watcher.look()

    life.evicted().pods_gone().admitted().pod_made().pod_runs()
    watcher.look()

    assert watcher.states == [State.RUNNING, State.EVICTING, State.RUNNING]
    assert watcher.told[1].reason.why is Why.PREEMPTED


def test_a_yesterdays_eviction_is_not_one_of_today() -> None:
    """Conditions stay behind as Evicted=False; a watcher that comes later concludes nothing from them."""
    life = Life().queued().admitted().pod_made().pod_runs().evicted().pods_gone().admitted().pod_made().pod_runs()
    watcher = Watcher(life)

    watcher.look()

    assert watcher.states == [State.RUNNING]


@pytest.mark.parametrize("hours", [1, 24 * 30])
def test_a_queued_step_waits_for_ever(hours: int) -> None:
    life = Life().queued()
    watcher = Watcher(life)
    for _ in range(3):
        life.passes(3600 * hours)
        watcher.look()

    assert watcher.states == [State.QUEUED]


def test_quota_reserved_is_not_admitted() -> None:
    life = Life().queued().admitted(checks=True)
    watcher = Watcher(life)
    watcher.look()
    life.passes(3600)
    watcher.look()

    assert watcher.states == [State.GATED]
    assert "admission checks budget" in watcher.told[0].words


def test_approval_is_waited_for() -> None:
    watcher = Watcher(Life().queued("AdmissionGated", "Admission is gated by: lead"))

    assert [one.state for one in watcher.look()] == [State.GATED]


def test_the_start_timeout_counts_from_admission() -> None:
    life = Life().queued()
    watcher = Watcher(life)
    watcher.look()
    life.passes(10_000).admitted().pod_made().pod_waits("ImagePullBackOff", "no such image")
    watcher.look()
    life.passes(299)
    watcher.look()
    assert not watcher.memory.over
    life.passes(1)
    told = watcher.look()

    assert [one.state for one in told] == [State.FAILED]
    assert "did not start within 5 min of its admission: ImagePullBackOff: no such image" in told[0].words


@pytest.mark.parametrize("counted", [True, False], ids=["evictions are counted", "nobody counts evictions"])
def test_each_admission_has_its_own_start_timeout(*, counted: bool) -> None:
    life = Life().queued().admitted()
    watcher = Watcher(life)
    watcher.look()
    life.passes(290).evicted().pods_gone()
    if not counted:
        assert life.workload is not None
        del life.workload["status"]["schedulingStats"]
    life.passes(1).admitted()  # all of it between two looks
    watcher.look()
    life.passes(290)
    watcher.look()
    assert not watcher.memory.over
    life.passes(10)

    assert [one.state for one in watcher.look()] == [State.FAILED]


def test_a_pod_that_has_ended_is_no_pod_that_never_started() -> None:
    life = Life().queued().admitted().pod_made().pod_runs()
    watcher = Watcher(life)
    watcher.look()
    life.passes(3600).pod_ends(0)
    watcher.look()
    life.pods.clear()
    life.shoot()
    watcher.look()

    assert watcher.states == [State.RUNNING]


def test_a_pod_that_cannot_start_is_told_of_before_the_timeout() -> None:
    life = Life().queued().admitted().pod_made()
    watcher = Watcher(life)
    watcher.look()
    life.passes(40).pod_waits("ImagePullBackOff", "no such image")

    assert [one.words.rpartition(": ")[2] for one in watcher.look()] == ["no such image"]


def test_longest_wait_is_kept_where_it_was_asked_for() -> None:
    life = Life().queued()
    watcher = Watcher(life, Limits(queue=timedelta(minutes=10)))
    watcher.look()
    life.passes(599)
    watcher.look()
    assert not watcher.memory.over
    life.passes(1)
    told = watcher.look()

    assert [one.state for one in told] == [State.FAILED]
    assert "waited 10 min, longer than its max_queue of 10 min; it waits for 2 more of cpu" in told[0].words


def test_a_pause_does_not_use_up_the_longest_wait() -> None:
    life = Life().queued().paused()
    watcher = Watcher(life, Limits(queue=timedelta(minutes=10)))
    life.passes(86_400)
    watcher.look()

    assert watcher.states == [State.PAUSED]


def test_a_paused_step_goes_on() -> None:
    life = Life().queued().admitted().pod_made().pod_runs()
    watcher = Watcher(life)
    watcher.look()
    life.paused().pods_gone()
    watcher.look()
    life.resumed()
    watcher.look()
    life.admitted().pod_made().pod_runs()
    watcher.look()

    assert watcher.states == [State.RUNNING, State.PAUSED, State.REQUEUED, State.RUNNING]


def test_a_hopeless_step_is_refused_when_kueue_has_said_so_for_a_while() -> None:
    life = Life().queued("ExceedsMaxQuota", NEVER)
    watcher = Watcher(life)
    watcher.look()
    life.passes(200).queued("WaitingForQuota", WAITS)  # somebody raised the quota
    watcher.look()
    life.passes(200).queued("ExceedsMaxQuota", NEVER)
    watcher.look()
    life.passes(299)
    watcher.look()
    assert not watcher.memory.over
    life.passes(1)
    told = watcher.look()

    assert [one.state for one in told] == [State.REFUSED]
    assert "asks for 200 of cpu where flavor big has at most 64" in told[0].words


def test_what_kueue_said_holds_while_it_has_no_news() -> None:
    """Kueue writes over its own verdict that an equal step was not admitted either: its own step, as it happens."""
    life = Life().queued("ExceedsMaxQuota", NEVER)
    watcher = Watcher(life)
    watcher.look()
    life.passes(1).queued("PendingEvaluation", "Bypassed scheduling evaluation because an equivalent workload recently failed")
    watcher.look()
    life.passes(299)
    told = watcher.look()

    assert watcher.states == [State.QUEUED, State.REFUSED]
    assert "asks for 200 of cpu" in told[0].words


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("DeactivatedDueToRequeuingLimitExceeded", Why.RETRIES),
        ("DeactivatedDueToMaximumExecutionTimeExceeded", Why.TOO_LONG),
        ("DeactivatedDueToAdmissionCheck", Why.DEACTIVATED),
    ],
)
def test_what_kueue_takes_out_for_good_is_over(reason: str, why: Why) -> None:
    life = Life().queued().admitted().pod_made().pod_runs().evicted(reason, "The workload is deactivated due to it")
    watcher = Watcher(life)
    told = watcher.look()

    assert [(one.state, one.reason.why) for one in told] == [(State.DEACTIVATED, why)]


def test_a_failed_pod_fails_the_step_at_once() -> None:
    life = Life().queued().admitted().pod_made().pod_runs()
    watcher = Watcher(life)
    watcher.look()
    life.failed(3)
    told = watcher.look()

    assert [one.words for one in told] == ["failed: its pod failed with exit code 3"]
    assert told[0].failed


def test_failed_pods_alone_fail_nothing() -> None:
    """With a backoff limit, or of an earlier attempt: only the Job knows whether it is over."""
    life = Life().queued().admitted().pod_made().pod_ends(1)
    life.job["status"] = {"failed": 1, "active": 1}
    life.shoot()
    watcher = Watcher(life)
    watcher.look()

    assert watcher.states == [State.RUNNING]


def test_success_without_the_steps_own_last_word_is_lost_after_a_minute() -> None:
    life = Life().queued().admitted().pod_made().pod_runs().succeeded()
    watcher = Watcher(life)
    watcher.look()
    life.passes(59)
    watcher.look()
    assert watcher.states == [State.SUCCEEDED]
    life.passes(1)
    watcher.look()

    assert watcher.states == [State.SUCCEEDED, State.LOST]
    assert "never said that it ended" in watcher.told[-1].words


def test_a_deleted_job_is_lost() -> None:
    life = Life().queued()
    watcher = Watcher(life)
    watcher.look()
    watcher.look(Seen())

    assert watcher.states == [State.QUEUED, State.LOST]


def test_a_job_that_is_late_is_not_lost_yet() -> None:
    watcher = Watcher(Life())
    watcher.look(Seen())
    watcher.life.passes(59)
    watcher.look(Seen())
    assert watcher.told == []
    watcher.life.passes(1)

    assert [one.state for one in watcher.look(Seen())] == [State.LOST]


def test_a_namesake_is_another_job() -> None:
    life = Life().queued()
    watcher = Watcher(life)
    watcher.look()
    told = watcher.look(Seen(make_job(uid="job-2")))

    assert [one.state for one in told] == [State.LOST]
    assert "another Job has its name" in told[0].words


def test_a_broken_watch_concludes_nothing() -> None:
    life = Life().queued().admitted()
    watcher = Watcher(life, Limits(start=timedelta(minutes=5), queue=timedelta(minutes=5), refuse=timedelta(minutes=5)))
    watcher.look()
    life.passes(86_400)
    watcher.look(life.seen(fresh=False))
    watcher.look(Seen(fresh=False))

    assert watcher.states == [State.ADMITTED]


def test_a_workload_that_is_over_while_its_job_is_not_is_doubted_for_a_minute() -> None:
    life = Life().queued()
    life.condition("Finished", True, "OutOfSync", "The workload is out of sync with its Job")
    life.shoot()
    watcher = Watcher(life)
    watcher.look()
    life.passes(59)
    watcher.look()
    assert watcher.told == []
    life.passes(1)

    assert [one.state for one in watcher.look()] == [State.LOST]


def test_a_job_outside_kueue_is_followed_by_its_pods() -> None:
    life = Life(job=make_job(queue=""))
    watcher = Watcher(life)
    watcher.look()
    life.pod_made().pod_runs()
    watcher.look()

    assert watcher.states == [State.ADMITTED, State.RUNNING]


def test_the_reason_is_told_again_only_where_it_explains_something() -> None:
    life = Life().queued("PendingEvaluation", "")
    watcher = Watcher(life)
    watcher.look()
    life.queued("WaitingForQuota", WAITS)
    watcher.look()
    for turn in range(20):  # a busy queue turns back and forth
        life.passes(1).queued("WaitingForPreemptedWorkloads" if turn % 2 else "WaitingForQuota", "" if turn % 2 else WAITS)
        watcher.look()

    assert [one.reason.why for one in watcher.told] == [Why.EVALUATED, Why.QUOTA]


def test_the_slice_that_holds_quota_speaks_for_an_elastic_job() -> None:
    life = Life().queued().admitted().pod_made().pod_runs()
    larger = Life().queued()
    assert larger.workload is not None
    larger.workload["metadata"] |= {"uid": "workload-2", "name": "job-step-2", "creationTimestamp": "2030-01-01T13:00:00Z"}
    seen = life.seen()
    watcher = Watcher(life)

    watcher.look(Seen(seen.job, (larger.workload, *seen.workloads), seen.pods))

    assert watcher.states == [State.RUNNING]


def test_a_workload_is_found_by_uid_and_never_by_name() -> None:
    life = Life().queued()
    foreign = Life().queued()
    assert foreign.workload is not None
    foreign.workload["metadata"]["labels"] = {"kueue.x-k8s.io/job-uid": "job-of-another"}
    foreign.workload["metadata"]["ownerReferences"] = []
    found = observe(Seen(life.job, (foreign.workload,), ()))

    assert found.workload is None
