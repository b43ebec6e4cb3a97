"""What a step asks of the cluster: the asset's words, the executor's, and what its run is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tiffin.compute.spec import Compute
from tiffin.compute.states import Limits
from tiffin.core.errors import Denied, Invalid
from tiffin.orchestration.kueue_places import foreign_namespaces, namespace_for, refuse_foreign
from tiffin.orchestration.kueue_steps import StepRules, asked_of, last_lines, step_command, with_resources
from tiffin.orchestration.kueue_tags import COMPUTE, compute_of, compute_tags, partitions_of, queue_of


@pytest.mark.parametrize(
    ("tags", "queue"),
    [
        pytest.param({}, "default", id="by hand"),
        pytest.param({"dagster/schedule_name": "s"}, "prod", id="a schedule"),
        pytest.param({"dagster/sensor_name": "s"}, "prod", id="a sensor"),
        pytest.param({"dagster/from_automation_condition": "true"}, "prod", id="an automation condition"),
        pytest.param({"dagster/backfill": "b"}, "backfill", id="the UI's backfill"),
        pytest.param({"tiffin/backfill": "b", "dagster/sensor_name": "backfill_retries"}, "backfill", id="and its retries"),
    ],
)
def test_a_runs_queue_follows_from_what_it_is(tags: dict[str, str], queue: str) -> None:
    assert queue_of(tags) == queue


@pytest.mark.parametrize(
    ("compute", "rules", "expected"),
    [
        pytest.param(None, StepRules(), ("default", "default", False), id="by the run"),
        pytest.param(None, StepRules(queue="q", priority="p"), ("q", "p", True), id="the executor's"),
        pytest.param(Compute(queue="mine", priority="high"), StepRules(queue="q", priority="p"), ("mine", "high", True), id="the asset's"),
        pytest.param(Compute(queue="mine", priority="high"), StepRules(queues=False), (None, None, True), id="no queues"),
    ],
)
def test_the_assets_words_go_before_the_executors(
    compute: Compute | None, rules: StepRules, expected: tuple[str | None, str | None, bool]
) -> None:
    asked = asked_of(compute_tags(compute), {}, rules)

    assert (asked.queue, asked.priority, asked.named_priority) == expected


def test_an_assets_patience_goes_before_the_executors() -> None:
    rules = StepRules(limits=Limits(start=timedelta(seconds=7)))

    asked = asked_of(compute_tags(Compute(max_queue="2h")), {}, rules)

    assert (asked.limits.queue, asked.limits.start) == (timedelta(hours=2), timedelta(seconds=7))


def test_a_compute_survives_the_way_through_an_op_tag() -> None:
    compute = Compute(cpu="500m", memory="2Gi", gpus=2, priority="prod", max_run="6h", max_queue="30m", grace="10s", parallelism=3)

    assert compute_of(compute_tags(compute)) == compute
    assert compute_of({}) is None


@pytest.mark.parametrize("written", ["no json", "[1]"])
def test_a_tag_written_by_hand_is_refused(written: str) -> None:
    with pytest.raises(Invalid, match="op tag 'tiffin/compute'"):
        compute_of({COMPUTE: written})


@pytest.mark.parametrize(
    ("resources", "cpu", "memory", "gpus"),
    [
        pytest.param({}, "1", "1Gi", 0, id="as the asset asks"),
        pytest.param({"requests": {"cpu": "500m"}}, "500m", "1Gi", 0, id="a tag asks for other cores"),
        pytest.param({"limits": {"memory": "4Gi", "nvidia.com/gpu": "2"}}, "1", "4Gi", 2, id="limits stand in for requests"),
        pytest.param({"limits": {"cpu": "8"}, "requests": {"cpu": "2"}}, "2", "1Gi", 0, id="requests go before limits"),
    ],
)
def test_preflight_judges_what_the_pod_will_really_ask_for(resources: dict[str, Any], cpu: str, memory: str, gpus: int) -> None:
    found = with_resources(Compute(), resources)

    assert (found.cpu, found.memory, found.gpus) == (cpu, memory, gpus)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["/v/python", "-m", "dagster", "api", "execute_step"], ["/v/python", "-m", "tiffin.orchestration.step_entry"]),
        (["dagster", "api", "execute_step", "--x", "1"], ["python", "-m", "tiffin.orchestration.step_entry", "--x", "1"]),
    ],
)
def test_a_pod_runs_our_entry_in_the_interpreter_that_dagster_names(args: list[str], expected: list[str]) -> None:
    assert step_command(args) == expected


def test_the_last_lines_of_a_log_fit_into_an_event() -> None:
    log = "\n".join(f"line {number} " + "x" * 1000 for number in range(100)) + "\n"

    found = last_lines(log).split("\n")

    assert (len(found), found[-1][:8], max(map(len, found))) == (25, "line 99 ", 500)
    assert last_lines("\n\n") == ""


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, None),
        ({"dagster/partition": "2013-01-01"}, "2013-01-01"),
        ({"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}, "a...b"),
        ({"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "a"}, "a"),
    ],
)
def test_a_runs_partitions_are_named_for_its_bill(tags: dict[str, str], expected: str | None) -> None:
    assert partitions_of(tags) == expected


def test_a_locations_jobs_go_to_its_teams_namespace() -> None:
    spaces = {"network": "team-network"}

    assert namespace_for("network", spaces, otherwise="dagster") == "team-network"
    assert namespace_for("platform", spaces, otherwise="dagster") == "dagster"
    assert namespace_for(None, spaces, otherwise="dagster") == "dagster"


@pytest.mark.parametrize(
    "config",
    [
        {"job_metadata": {"namespace": "other"}},
        {"pod_template_spec_metadata": {"namespace": "other"}},
        {"job_config": {"metadata": {"namespace": "other"}}},
    ],
)
def test_another_teams_namespace_is_refused_by_name(config: dict[str, Any]) -> None:
    named = foreign_namespaces(config)

    refuse_foreign(named, namespace="other", where="a tag")
    with pytest.raises(Denied, match="a tag names namespace 'other'; Jobs of this code location go to 'mine'"):
        refuse_foreign(named, namespace="mine", where="a tag")
