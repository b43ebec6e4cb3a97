"""Sensors that make one team's tables follow other teams' landings: events in, one run per burst out.

A tick costs one query for its runs and one for the event log, however many partitions landed.
"""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import time
from collections.abc import Callable, Mapping, Sequence

import dagster as dg
from dagster._core.event_api import EventRecordsFilter
from dagster._core.events import RunFailureReason

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.core.spec import Spec
from tiffin.manifests.records import ViewRecord
from tiffin.orchestration.asset_keys import model_path, table_path, view_path
from tiffin.orchestration.catalog import view_records
from tiffin.orchestration.sensors_core import Decision, Landing, Notice, Rebuild, Upstream, decide
from tiffin.orchestration.sensors_days import pack_days
from tiffin.orchestration.sensors_memory import Memory
from tiffin.orchestration.sensors_notices import LATE_SINCE, told_before
from tiffin.training.model import Model
from tiffin.training.table import TrainingTable

__all__ = ["SENSOR", "SEQUENCE", "UPSTREAM_RUNS", "UPTO", "follow_sensor", "sensors_of", "upstreams_of"]

SENSOR, SEQUENCE, UPTO, TRY = "tiffin/sensor", "tiffin/sequence", "tiffin/read_up_to", "tiffin/try"
FAILURE_REASON, RUN_KEY = "dagster/failure_reason", "dagster/run_key"
TRIES = 3
"""How often a run is asked for that Dagster's run monitoring gives up on before it has begun."""
UPSTREAM_RUNS, LANDED_DAYS, CONSUMED = "tiffin/upstream_runs", "tiffin/landed_days", "tiffin/consumed_partitions"
EVERY_S = 30
SETTLE_S = 600.0
GRACE_S = 7200.0
# ids are given before a transaction ends: an event of the last seconds may still get a neighbour with a lower id
LAG_S = 5.0
PAGE = 20_000
BUILDING = {
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
}


def sensors_of(team: Team, specs: Sequence[Spec], catalog: Mapping[str, ViewRecord]) -> list[dg.SensorDefinition]:
    """One sensor for all tables of the team that follow the same views; their models are rebuilt with them.

    Raises:
        NotFound: a pattern that no view has, with the nearest.
    """
    groups: dict[tuple[str, ...], list[TrainingTable]] = {}
    for spec in specs:
        if isinstance(spec, TrainingTable) and spec.after:
            groups.setdefault(tuple(sorted(spec.after)), []).append(spec)
    if not groups:
        return []
    records = {**catalog, **{f"{one.team}/{one.name}": one for one in view_records(team, specs)}}
    found = []
    for after, tables in groups.items():
        targets = [table_path(team.name, table.name) for table in tables]
        targets += [
            model_path(team.name, spec.name) for spec in specs if isinstance(spec, Model) and any(spec.table is one for one in tables)
        ]
        upstreams = upstreams_of(team, tables[0], records)
        found.append(follow_sensor(team, upstreams, [dg.AssetKey(list(path)) for path in targets], name=name_of(after)))
    return found


def name_of(after: Sequence[str]) -> str:
    """`rebuild_after_fleet_network` for whole teams; views by their names."""
    parts = [pattern.removesuffix("/*").replace("/", "_") for pattern in after]
    return f"rebuild_after_{'_'.join(parts)}"[:200]


def upstreams_of(team: Team, table: TrainingTable, records: Mapping[str, ViewRecord]) -> list[Upstream]:
    """The views that `after` names.

    Raises:
        NotFound: a pattern that no view has.
    """
    found: dict[str, Upstream] = {}
    for pattern in table.after:
        refs = [ref for ref in records if ref == pattern or (pattern.endswith("/*") and ref.startswith(pattern[:-1]))]
        if not refs:
            teams = {f"{ref.partition('/')[0]}/*" for ref in records}
            raise NotFound(
                f"training table {table.name!r} of team {team.name!r}: after={pattern!r} names no view",
                fix=nearest(pattern, [*records, *teams]),
            )
        for ref in refs:
            one = records[ref]
            found[ref] = Upstream(ref, one.owner, one.partition_kind, one.partition_start)
    return [found[ref] for ref in sorted(found)]


def follow_sensor(
    team: Team,
    upstreams: Sequence[Upstream],
    targets: Sequence[dg.AssetKey],
    *,
    name: str,
    settle_s: float = SETTLE_S,
    grace_s: float = GRACE_S,
    every_s: int = EVERY_S,
    lag_s: float = LAG_S,
    now_s: Callable[[], float] = time.time,
    status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that rebuilds `targets` in one run whenever all `upstreams` have landed new days; see `decide`.

    Args:
        status: whether it is on from the start. A stack that materialises everything itself, as the demo does,
            would otherwise be overtaken by it.
    """
    refs = ", ".join(one.ref for one in upstreams)

    @dg.sensor(
        name=name,
        asset_selection=dg.AssetSelection.assets(*targets),
        minimum_interval_seconds=every_s,
        default_status=status,
        description=f"Rebuilds {', '.join(key.to_user_string() for key in targets)} in one run when these have landed a new day: {refs}",
        tags={"team": team.name},
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        memory = memory_of(context)
        stuck, busy, asked = runs_of(context.instance, name, memory.sequence, targets)
        if stuck is not None:
            return dg.SensorResult(run_requests=[stuck], cursor=context.cursor)
        now = now_s()
        upto = None if asked is None else int(asked.tags[UPTO])
        landings, read_up_to = landed(context.instance, memory.after, upto=upto, before_s=now - lag_s)
        decision = decide(
            memory,
            landings,
            upstreams=upstreams,
            now_s=now,
            read_up_to=read_up_to,
            settle_s=settle_s,
            grace_s=grace_s,
            busy=busy,
            again=asked is not None,
        )
        return result_of(context, decision, targets, name=name)

    return follow


def memory_of(context: dg.SensorEvaluationContext) -> Memory:
    """The cursor; one that cannot be read fails the tick and says what to do."""
    try:
        return Memory.from_text(context.cursor)
    except Invalid as err:
        raise dg.Failure(description=err.message, metadata={"fix": err.fix}) from err


def runs_of(
    instance: dg.DagsterInstance, name: str, sequence: int, targets: Sequence[dg.AssetKey]
) -> tuple[dg.RunRequest | None, str | None, dg.DagsterRun | None]:
    """What became of the runs that this sensor asked for, by one query.

    Returns:
        The request for the last one, when it was created and never launched; the id of one that is still building; and
        the next one, when a tick asked for it and was killed before its memory was kept.
    """
    wanted = dg.RunsFilter(tags={SENSOR: name, SEQUENCE: [str(sequence), str(sequence + 1)]})
    stuck, busy, asked = None, None, None
    never: list[dg.DagsterRun] = []
    last = 0
    for run in instance.get_runs(wanted, limit=50):
        if run.tags[SEQUENCE] == str(sequence + 1):
            asked = run
            continue
        last += 1
        if run.status == dg.DagsterRunStatus.NOT_STARTED and run.parent_run_id is None:
            stuck = asked_again(run, targets)
        elif run.status in BUILDING:
            busy = run.run_id
        elif run.tags.get(FAILURE_REASON) == RunFailureReason.START_TIMEOUT.value:
            never.append(run)
    if never and len(never) == last < TRIES:
        stuck = asked_again(never[-1], targets, number=1 + last)
    return stuck, busy, asked


def asked_again(run: dg.DagsterRun, targets: Sequence[dg.AssetKey], *, number: int = 1) -> dg.RunRequest:
    """The request that made `run`: Dagster launches the run that is there instead of making another.

    Args:
        number: above 1 asks for another one: Dagster called `run` STARTING, was killed before it launched it, and its run
            monitoring has failed it since.
    """
    kept = {key: value for key, value in run.tags.items() if key.startswith("tiffin/")}
    if number == 1:
        return dg.RunRequest(run_key=run.tags[RUN_KEY], asset_selection=list(targets), tags=kept)
    first = run.tags[RUN_KEY].removesuffix(f":{run.tags.get(TRY)}")
    return dg.RunRequest(run_key=f"{first}:{number}", asset_selection=list(targets), tags={**kept, TRY: str(number)})


def landed(instance: dg.DagsterInstance, after: int, *, upto: int | None, before_s: float) -> tuple[list[Landing], int]:
    """Materialisations after an event, in order: one query for all assets.

    Args:
        upto: last storage id to read.
        before_s: later events are left for the next tick; ignored with `upto`.

    Returns:
        Landings, and the storage id of the last event read.
    """
    wanted = EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION, after_cursor=after)
    found: list[Landing] = []
    for record in instance.event_log_storage.get_event_records(wanted, limit=PAGE, ascending=True):
        if (upto is not None and record.storage_id > upto) or (upto is None and record.timestamp > before_s):
            break
        after = record.storage_id
        event = record.asset_materialization
        if event is not None:
            changed = event.metadata.get("changed")
            ref = "/".join(event.asset_key.path)
            found.append(Landing(after, ref, event.partition or "", record.run_id, changed is None or bool(changed.value)))
    return found, after


def result_of(context: dg.SensorEvaluationContext, decision: Decision, targets: Sequence[dg.AssetKey], *, name: str) -> dg.SensorResult:
    """A decision as Dagster takes it."""
    events = [observed(one, name, decision.memory) for one in decision.notices]
    events = [one for one in events if not told_before(context.instance, one)]
    for one in events:
        context.log.warning(str(one.description))
    asked = [] if decision.rebuild is None else [request_of(decision.rebuild, targets, name=name)]
    return dg.SensorResult(
        run_requests=asked, skip_reason=None if asked else decision.why, cursor=decision.memory.to_text(), asset_events=events
    )


def request_of(rebuild: Rebuild, targets: Sequence[dg.AssetKey], *, name: str) -> dg.RunRequest:
    """One run, which names what it stands for: days, partitions and the runs that landed them."""
    tags = {
        SENSOR: name,
        SEQUENCE: str(rebuild.sequence),
        UPTO: str(rebuild.upto),
        UPSTREAM_RUNS: ",".join(rebuild.upstream_runs),
        LANDED_DAYS: ", ".join(pack_days(rebuild.days)[:20]),
        CONSUMED: str(rebuild.consumed),
    }
    return dg.RunRequest(run_key=rebuild.key, asset_selection=list(targets), tags=tags)


def observed(notice: Notice, name: str, memory: Memory) -> dg.AssetObservation:
    """The notice, on the page of the view that is late: there its owner sees it, whoever waits."""
    days = pack_days(notice.days)
    return dg.AssetObservation(
        dg.AssetKey(list(view_path(notice.refs[0]))),
        description=f"{notice.owner}: {', '.join(notice.refs)} late for {', '.join(days[:5])}; {name} waits and has started nothing",
        metadata={
            "late": ", ".join(notice.refs),
            "owner": notice.owner,
            "days": ", ".join(days),
            "waiting": name,
            "fix": "materialise these partitions, or see why their source has not landed",
            "read_up_to": memory.after,
        },
        tags={LATE_SINCE: notice.days[0]},
    )
