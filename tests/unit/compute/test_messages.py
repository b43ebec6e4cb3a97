"""What Kueue says, in words: its messages as they were recorded from version 0.19."""

from __future__ import annotations

import pytest

from tests.step_case import NEVER, PREEMPTED_BY, WAITS
from tiffin.compute.messages import Preemptor, Why, duration_words, read_eviction, read_preemptor, read_waiting

BYPASSED = "Bypassed scheduling evaluation because an equivalent workload recently failed"
TWO_FLAVORS = (
    "couldn't assign flavors to pod set main: flavor cpu doesn't match node affinity,"
    " insufficient unused quota for nvidia.com/gpu in flavor a100, 1 more needed"
)


@pytest.mark.parametrize(
    ("reason", "message", "why", "words", "hopeless"),
    [
        pytest.param("Pending", WAITS, Why.QUOTA, "waits for 2 more of cpu in flavor big", False, id="legacy reason"),
        pytest.param("WaitingForQuota", WAITS, Why.QUOTA, "2 more of cpu", False, id="granular reason"),
        pytest.param("ExceedsMaxQuota", NEVER, Why.TOO_BIG, "asks for 200 of cpu where flavor big has at most 64", True, id="too big"),
        pytest.param("Pending", NEVER, Why.TOO_BIG, "asks for 200 of cpu", True, id="too big by a legacy reason"),
        pytest.param(
            "NoMatchingFlavor",
            "couldn't assign flavors to pod set main: resource nvidia.com/gpu unavailable in ClusterQueue",
            Why.UNCOVERED,
            "no flavor of this queue offers nvidia.com/gpu",
            True,
            id="uncovered resource behind a misleading reason",
        ),
        pytest.param("NoMatchingFlavor", TWO_FLAVORS, Why.QUOTA, "1 more of nvidia.com/gpu in flavor a100", False, id="one flavor waits"),
        pytest.param(
            "NoMatchingFlavor",
            "flavor cpu doesn't match node affinity, untolerated taint {gpu present NoSchedule <nil>} in flavor a100",
            Why.NO_FLAVOR,
            "flavor cpu is for other nodes",
            True,
            id="no flavor accepts it",
        ),
        pytest.param(
            "Misconfigured", "LocalQueue nope doesn't exist", Why.MISCONFIGURED, "LocalQueue nope doesn't exist", True, id="no queue"
        ),
        pytest.param(
            "Suspended", "ClusterQueue team-x is stopped", Why.STOPPED, "ClusterQueue team-x is stopped", False, id="stopped queue"
        ),
        pytest.param("Inadmissible", "LocalQueue backfill is inactive", Why.STOPPED, "is inactive", False, id="inactive queue"),
        pytest.param(
            "Pending",
            WAITS + ". Pending the preemption of 3 workload(s)",
            Why.PREEMPTING,
            "until 3 preempted step(s) have given their quota back",
            False,
            id="preempts others",
        ),
        pytest.param(
            "Pending", "Workload no longer fits after processing another workload", Why.QUOTA, "admitted first", False, id="overtaken"
        ),
        pytest.param("AdmissionGated", "Admission is gated by: lead, cost", Why.GATED, "the approval lead, cost", False, id="approval"),
        pytest.param("WaitingForQuota", BYPASSED, Why.QUOTA, "as an equal step before it", False, id="equal to one that waits"),
        pytest.param("PendingEvaluation", BYPASSED, Why.EQUAL, "could not be admitted before it", False, id="equal to one not admitted"),
        pytest.param("ExceedsMaxQuota", BYPASSED, Why.EQUAL, "more than the queue can hold", False, id="equal to one too big"),
        pytest.param(
            "Pending",
            f"{NEVER}, {WAITS}",
            Why.TOO_BIG,
            "at most 64",
            True,
            id="waits and is too small",
        ),
        pytest.param("PendingEvaluation", "", Why.EVALUATED, "waits for Kueue to look at it", False, id="not looked at"),
        pytest.param("Preempted", PREEMPTED_BY, Why.EVALUATED, "look at it again", False, id="just evicted"),
        pytest.param("SomethingNew", "a sentence of a later version", Why.OTHER, "a sentence of a later version", False, id="unknown"),
        pytest.param("", "", Why.OTHER, "waits for Kueue to look at it", False, id="nothing said"),
    ],
)
def test_a_wait_is_explained(reason: str, message: str, why: Why, words: str, hopeless: bool) -> None:
    found = read_waiting(reason, message)

    assert (found.why, found.hopeless) == (why, hopeless)
    assert words in found.words


@pytest.mark.parametrize(
    ("reason", "message", "why"),
    [
        pytest.param("Preempted", PREEMPTED_BY, Why.PREEMPTED, id="preempted"),
        pytest.param("", "Previously: " + PREEMPTED_BY, Why.PREEMPTED, id="preempted before"),
        pytest.param("PodsReadyTimeout", "Exceeded the PodsReady timeout ns/w", Why.NOT_READY, id="pods not ready"),
        pytest.param("", "Previously: Exceeded the PodsReady timeout ns/w", Why.NOT_READY, id="pods not ready before"),
        pytest.param("ClusterQueueStopped", "The ClusterQueue is stopped", Why.STOPPED, id="drained"),
        pytest.param("NodeFailures", "", Why.NODE_FAILURE, id="node"),
        pytest.param("Deactivated", "The workload is deactivated", Why.PAUSED, id="by a person"),
        pytest.param("DeactivatedDueToRequeuingLimitExceeded", "...", Why.RETRIES, id="too many tries"),
        pytest.param("DeactivatedDueToMaximumExecutionTimeExceeded", "...", Why.TOO_LONG, id="ran too long"),
        pytest.param("DeactivatedDueToAdmissionCheck", "...", Why.DEACTIVATED, id="a check said no"),
        pytest.param("SomethingNew", "later", Why.OTHER, id="unknown"),
    ],
)
def test_an_eviction_is_explained(reason: str, message: str, why: Why) -> None:
    found = read_eviction(reason, message)

    assert found.why == why
    assert found.words
    assert "Previously" not in found.words


def test_who_preempted_is_read_from_the_message() -> None:
    found = read_preemptor(PREEMPTED_BY)

    assert found == Preemptor("boss-workload", "boss-job", "reclamation within the cohort", "fleet")
    assert read_preemptor("Previously: " + PREEMPTED_BY) == found
    assert read_preemptor("Exceeded the PodsReady timeout ns/w") is None


def test_an_unknown_preemptor_has_no_uid() -> None:
    said = "Preempted to accommodate a workload (UID: UNKNOWN, JobUID: UNKNOWN) due to UNKNOWN; preemptor path: UNKNOWN; preemptee path: /x"

    assert read_preemptor(said) == Preemptor("", "", "", "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min 59 s"), (3600, "1 h"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_a_wait_reads_as_people_say_it(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
