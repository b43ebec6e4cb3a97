"""The retry sensor in one process: what it asks for, once, and how it marks what it has settled."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from tiffin.core.errors import Invalid, PlatformError
from tiffin.orchestration.backfill_ranges import BACKFILL, GAVE_UP, RANGE_END, RANGE_START, RETRY, RETRY_OF, RETRY_ROOT, TRIES
from tiffin.orchestration.backfill_sensor import keep_backfill_waiting, retry_sensor
from tiffin.orchestration.failures import failures

DAYS = dg.DailyPartitionsDefinition("2013-01-01", end_date="2013-01-11")
RANGE = {RANGE_START: "2013-01-01", RANGE_END: "2013-01-10"}
WILL_RETRY = "dagster/will_retry"
ONE_RUN = dg.BackfillPolicy.single_run()


class Oven:
    """What fails, and how."""

    bad: str | None = None
    error: Exception | None = None


@dg.asset(key=["demo", "load"], partitions_def=DAYS, backfill_policy=ONE_RUN)
def load(context: dg.AssetExecutionContext) -> None:
    keep_backfill_waiting(context)
    with failures():
        if Oven.error is not None:
            raise Oven.error
        if Oven.bad in context.partition_keys:
            raise Invalid("the oven is cold", fix="light it", context={"partition": Oven.bad})


@dg.asset(key=["demo", "beside"], partitions_def=DAYS, backfill_policy=ONE_RUN)
def beside() -> None: ...


@dg.asset(key=["demo", "whole"])
def whole() -> None:
    raise RuntimeError("no partition here")


@dg.asset(key=["demo", "hours"], partitions_def=dg.HourlyPartitionsDefinition("2013-01-01-00:00"), backfill_policy=ONE_RUN)
def hours() -> None: ...


DEFINITIONS = dg.Definitions(assets=[load, beside, whole, hours], sensors=[retry_sensor()])


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    Oven.bad, Oven.error = None, None
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def run(instance: dg.DagsterInstance, *assets: dg.AssetsDefinition, **tags: str) -> str:
    chosen = [key for asset in assets for key in asset.keys]
    job = DEFINITIONS.get_repository_def().get_job("__ASSET_JOB")
    return job.execute_in_process(asset_selection=chosen, instance=instance, tags=tags, raise_on_error=False).run_id


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=DEFINITIONS.get_repository_def())
    result: Any = retry_sensor()(context)
    return result


def asked(result: dg.SensorResult | dg.SkipReason) -> list[dg.RunRequest]:
    return list(result.run_requests or ()) if isinstance(result, dg.SensorResult) else []


def launch(instance: dg.DagsterInstance, request: dg.RunRequest) -> str:
    """What the daemon does with a request."""
    assert request.run_key is not None
    chosen = [asset for asset in (load, beside) if asset.key in (request.asset_selection or ())]
    return run(instance, *chosen, **{**request.tags, "dagster/run_key": request.run_key})


def tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return dict(found.tags)


def spans(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return [(request.tags[RANGE_START][-2:], request.tags[RANGE_END][-2:]) for request in requests]


def test_the_range_is_cut_where_its_error_says_and_carries_its_origin(instance: dg.DagsterInstance) -> None:
    Oven.bad = "2013-01-04"
    failed = run(instance, load, **RANGE, **{BACKFILL: "demo:1"})

    requests = asked(tick(instance))

    assert spans(requests) == [("01", "03"), ("05", "10")]
    assert {request.tags[RETRY_OF] for request in requests} == {request.tags[RETRY_ROOT] for request in requests} == {failed}
    assert {request.tags[BACKFILL] for request in requests} == {"demo:1"}
    assert [request.asset_selection for request in requests] == [[load.key], [load.key]]


def test_asking_again_before_the_launch_asks_for_the_same_and_settles_nothing(instance: dg.DagsterInstance) -> None:
    Oven.bad = "2013-01-04"
    failed = run(instance, load, **RANGE)

    first = tick(instance)
    second = tick(instance, first.cursor if isinstance(first, dg.SensorResult) else None)

    assert [request.run_key for request in asked(first)] == [request.run_key for request in asked(second)]
    assert RETRY not in tags(instance, failed)


def test_half_launched_retries_are_completed_and_then_the_run_is_settled(instance: dg.DagsterInstance) -> None:
    Oven.bad = "2013-01-04"
    failed = run(instance, load, **RANGE)
    requests = asked(tick(instance))
    launch(instance, requests[0])

    left = asked(tick(instance))
    launch(instance, left[0])
    last = tick(instance)

    assert [request.run_key for request in left] == [requests[1].run_key]
    assert asked(last) == []
    assert tags(instance, failed)[GAVE_UP] == "2013-01-04"
    assert "2 ranges again" in tags(instance, failed)[RETRY]


def test_only_the_assets_that_lack_partitions_run_again(instance: dg.DagsterInstance) -> None:
    Oven.error = RuntimeError("out of memory")
    run(instance, load, beside, **RANGE)

    requests = asked(tick(instance))

    assert spans(requests) == [("01", "05"), ("06", "10")]
    assert {key for request in requests for key in request.asset_selection or ()} == {load.key}


def test_a_partition_that_fails_twice_alone_is_given_up(instance: dg.DagsterInstance) -> None:
    Oven.error = RuntimeError("out of memory")
    run(instance, load, **{RANGE_START: "2013-01-04", RANGE_END: "2013-01-04"})

    [request] = asked(tick(instance))
    again = launch(instance, request)

    assert request.tags[TRIES] == "2"
    assert asked(tick(instance)) == []
    assert tags(instance, again)[GAVE_UP] == "2013-01-04"


@pytest.mark.parametrize(
    ("assets", "wanted"),
    [pytest.param((whole,), {}, id="no partitions"), pytest.param((load,), {"dagster/partition": "2013-01-04"}, id="no range")],
)
def test_other_failed_runs_are_left_alone(instance: dg.DagsterInstance, assets: tuple[Any, ...], wanted: dict[str, str]) -> None:
    Oven.error = RuntimeError("out of memory")
    failed = run(instance, *assets, **wanted)

    assert asked(tick(instance)) == []
    assert RETRY not in tags(instance, failed)


def test_a_backfill_of_dagsters_own_waits_until_the_decision_is_made(instance: dg.DagsterInstance) -> None:
    Oven.bad = "2013-01-04"
    failed = run(instance, load, **RANGE, **{"dagster/backfill": "nightly"})
    waiting = tags(instance, failed)[WILL_RETRY]
    requests = asked(tick(instance))
    still = tags(instance, failed)[WILL_RETRY]

    for request in requests:
        launch(instance, request)
    tick(instance)

    assert (waiting, still, tags(instance, failed)[WILL_RETRY]) == ("true", "true", "false")
    assert {request.tags["dagster/backfill"] for request in requests} == {"nightly"}


def test_a_refusal_about_everything_is_not_repeated(instance: dg.DagsterInstance) -> None:
    Oven.error = PlatformError("there is no source", fix="land it")
    failed = run(instance, load, **RANGE)

    assert asked(tick(instance)) == []
    assert tags(instance, failed)[GAVE_UP] == "2013-01-01..2013-01-10"


def test_nothing_failed_is_nothing_to_do(instance: dg.DagsterInstance) -> None:
    assert isinstance(tick(instance), dg.SkipReason)
