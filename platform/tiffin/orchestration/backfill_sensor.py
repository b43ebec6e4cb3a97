"""What happens to a ranged run that failed, whoever launched it: its failed part runs again in smaller pieces.

The sensor keeps no list of its own. What a failed run needs follows from its tags and its event log; a retry carries a
run key made of the failed run and the piece, so that Dagster launches it once however often it is asked for; and the
failed run is marked as settled only when all its retries exist. So a daemon may be killed at any point.
"""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg

from tiffin.orchestration.backfill_ranges import (
    BACKFILL,
    GAVE_UP,
    RANGE_END,
    RANGE_START,
    RETRIED_WITHIN_S,
    RETRY,
    RETRY_OF,
    RETRY_ROOT,
    TRIES,
    FailedRange,
    Verdict,
    in_ranges,
    judge,
    named_ranges,
)

__all__ = ["NAME", "failed_ranges", "keep_backfill_waiting", "requests_for", "retry_sensor"]

NAME = "retry_failed_ranges"
INTERVAL_S = 5
AT_ONCE = 50
FIRST_LOOK_BACK = timedelta(seconds=RETRIED_WITHIN_S)
UI_BACKFILL, WILL_RETRY = "dagster/backfill", "dagster/will_retry"
ASKED = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.STEP_FAILURE}


def keep_backfill_waiting(context: dg.AssetExecutionContext) -> None:
    """Called by a step as it begins: a backfill of Dagster's own waits, should this run fail, until the sensor has decided.

    Dagster has that very word for its own retries; where those are on, they decide.
    """
    if UI_BACKFILL in context.run.tags and not context.instance.run_retries_enabled:
        context.instance.add_run_tags(context.run.run_id, {WILL_RETRY: "true"})


def retry_sensor() -> dg.SensorDefinition:
    """One per code location, on by default; it looks at the runs of this location's partitioned assets."""

    @dg.sensor(
        name=NAME,
        job_name="__ASSET_JOB",  # Dagster's own job over all assets; a selection must share one partitioning
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Cuts a failed range of partitions at what failed, or in halves, and runs only that part again.",
    )
    def retry_failed_ranges(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        return evaluate(context)

    return retry_failed_ranges


def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """One tick: settle what has its retries, ask for those that are missing; the cursor stops at the first unsettled run."""
    assert context.repository_def is not None
    graph, instance = context.repository_def.asset_graph, context.instance
    since = datetime.fromisoformat(context.cursor) if context.cursor else datetime.now(UTC) - FIRST_LOOK_BACK
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since),
        limit=AT_ONCE,
        order_by="update_timestamp",
        ascending=True,
    )
    requests: list[dg.RunRequest] = []
    cursor, settled = since, True
    for record in records:
        run = record.dagster_run
        partitions = partitions_of(run, graph)
        if partitions and RETRY not in run.tags:
            wanted = requests_for(run, partitions, instance)
            requests += wanted
            settled = settled and not wanted
        if settled:
            cursor = record.update_timestamp.replace(tzinfo=record.update_timestamp.tzinfo or UTC)
    if not requests and not records:
        return dg.SkipReason("no ranged run has failed")
    return dg.SensorResult(run_requests=requests, cursor=cursor.isoformat())


def partitions_of(run: dg.DagsterRun, graph: object) -> dict[dg.AssetKey, list[str]]:
    """The partitions that a ranged run asked for, by asset of this location; empty for every other run."""
    first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
    found: dict[dg.AssetKey, list[str]] = {}
    for key in sorted(run.asset_selection or (), key=str):
        if first is None or last is None or not graph.has(key):  # type: ignore[attr-defined]  # Dagster's graph class is not exported
            return {}
        partitions = graph.get(key).partitions_def  # type: ignore[attr-defined]  # as above
        if partitions is not None:
            found[key] = list(partitions.get_partition_keys())
    return found


def requests_for(run: dg.DagsterRun, order: Mapping[dg.AssetKey, Sequence[str]], instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """The retries of a failed run that do not exist yet; when there are none, the run is marked as settled."""
    family = instance.get_runs(dg.RunsFilter(tags={RETRY_ROOT: run.tags.get(RETRY_ROOT, run.run_id)}))
    launched = {child.tags.get("dagster/run_key") for child in family if child.tags.get(RETRY_OF) == run.run_id}
    wanted: list[dg.RunRequest] = []
    gave_up: list[str] = []
    reasons: list[str] = []
    for keys, failed in failed_ranges(run, order, instance.all_logs(run.run_id, of_type=ASKED)):
        known = replace(failed, runs=1 + len(family) - len(launched))
        stopped = Verdict((), failed.asked, "gave up: its backfill was cancelled") if cancelled(run, instance) else None
        verdict = stopped or judge(known, order[keys[0]])
        left = [key for key in verdict.gave_up if key not in failed.made]
        gave_up += [named_ranges(left, order[keys[0]])] if left else []
        reasons.append(verdict.reason)
        for retry in verdict.retries:
            request = request_of(run, keys, retry.partitions, tries=retry.tries)
            wanted += [request] if request.run_key not in launched else []
    if not wanted:
        waiting = {WILL_RETRY: "false"} if run.tags.get(WILL_RETRY) == "true" else {}
        given = {GAVE_UP: ", ".join(dict.fromkeys(gave_up))} if gave_up else {}
        instance.add_run_tags(run.run_id, {RETRY: "; ".join(dict.fromkeys(reasons)), **given, **waiting})
    return wanted


def failed_ranges(
    run: dg.DagsterRun, order: Mapping[dg.AssetKey, Sequence[str]], logs: Iterable[dg.EventLogEntry]
) -> list[tuple[list[dg.AssetKey], FailedRange]]:
    """What a failed run left undone: assets that lack the same partitions go together again."""
    events = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
    made: dict[dg.AssetKey, set[str]] = {key: set() for key in order}
    named: set[str] = set()
    error, retryable = None, True
    for event in events:
        if event.is_step_materialization and event.asset_key in made and event.partition is not None:
            made[event.asset_key].add(event.partition)
        elif event.is_step_failure and (told := event.step_failure_data.user_failure_data) is not None:
            shown = {name: value.value for name, value in told.metadata.items()}
            error = str(shown["error"]) if "error" in shown else None
            retryable = bool(shown.get("retryable", True))
            named |= {str(shown["partition"])} if shown.get("partition") else set()
    groups: dict[frozenset[str], list[dg.AssetKey]] = {}
    for key, done in made.items():
        groups.setdefault(frozenset(done), []).append(key)
    first, last, tries = run.tags[RANGE_START], run.tags[RANGE_END], int(run.tags.get(TRIES, "1"))
    return [
        (keys, FailedRange(tuple(in_ranges([(first, last)], order[keys[0]])), done, frozenset(named), error, retryable, tries))
        for done, keys in groups.items()
    ]


def request_of(run: dg.DagsterRun, keys: Sequence[dg.AssetKey], partitions: Sequence[str], *, tries: int) -> dg.RunRequest:
    """A run over some partitions of the failed run's assets, for the same backfill."""
    kept = {name: run.tags[name] for name in (BACKFILL, UI_BACKFILL) if name in run.tags}
    return dg.RunRequest(
        run_key=f"{run.run_id}:{keys[0].to_user_string()}:{partitions[0]}:{partitions[-1]}:{tries}",
        run_config=run.run_config,
        asset_selection=list(keys),
        tags={
            **kept,
            RANGE_START: partitions[0],
            RANGE_END: partitions[-1],
            RETRY_OF: run.run_id,
            RETRY_ROOT: run.tags.get(RETRY_ROOT, run.run_id),
            TRIES: str(tries),
        },
    )


def cancelled(run: dg.DagsterRun, instance: dg.DagsterInstance) -> bool:
    """Whether somebody stopped the backfill of Dagster's own that the run belongs to."""
    if UI_BACKFILL not in run.tags:
        return False
    backfill = instance.get_backfill(run.tags[UI_BACKFILL])
    return backfill is not None and backfill.status.value in ("CANCELED", "CANCELING")
