"""A sensor that names whoever holds a team's published views up: one notice per cause, on the cause's own page."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.spec import Spec
from tiffin.features.view import FeatureView, Source
from tiffin.orchestration.asset_keys import online_path
from tiffin.orchestration.metadata import COMPLETE_TO
from tiffin.orchestration.resource_keys import StackClock
from tiffin.orchestration.schedule_lateness import Late, Promise, late_upstreams, news
from tiffin.orchestration.sensors_notices import LATE_SINCE, pack_told, told_before, unpack_told

__all__ = ["NAME", "late_notice", "late_sensors", "promises_of"]

NAME = "tell_the_late"
EVERY_S = 300
WATERMARK = "watermark"


def promises_of(team: Team, specs: Sequence[Spec], complete_to: Mapping[str, datetime | None]) -> dict[str, Promise]:
    """A team's published views with what they are made from, as `late_upstreams` takes them.

    Args:
        complete_to: by asset, how far it got; an asset that is not in it does not exist yet.
    """
    landed = {spec.name for spec in specs if isinstance(spec, Source) and spec.load is not None}
    found: dict[str, Promise] = {}
    for spec in specs:
        if isinstance(spec, FeatureView):
            ref = f"{team.name}/{spec.name}"
            sources = tuple(source.name for source in (spec.source, *spec.inputs))
            found[ref] = Promise(team.owner, sources, complete_to.get(ref))
            for name in sources:
                owner = team.owner if name in landed else f"whoever lands {name}"
                found[name] = Promise(owner, (), complete_to.get(name))
            if spec.online is not None:
                online = "/".join(online_path(ref))
                found[online] = Promise(team.owner, (ref,), complete_to.get(online), spec.online.freshness)
    return found


def late_notice(late: Late, told_by: str) -> dg.AssetObservation:
    """The notice on the page of the cause."""
    got = "nothing of it exists yet" if late.complete_to is None else f"it is complete to {late.complete_to:%Y-%m-%d %H:%M} UTC"
    affected = [ref for ref in late.affects if ref != late.ref]
    return dg.AssetObservation(
        dg.AssetKey(late.ref.split("/")),
        description=f"{late.owner}: {late.ref} is late, {got}; held up are {', '.join(affected) or 'its own readers'}",
        metadata={
            "owner": late.owner,
            "affects": ", ".join(late.affects),
            "told_by": told_by,
            "fix": "land or materialise what is missing",
        },
        tags={LATE_SINCE: "never" if late.complete_to is None else f"{late.complete_to:%Y-%m-%dT%H.%M.%S}"},
    )


def complete(instance: dg.DagsterInstance, refs: Sequence[str]) -> dict[str, datetime | None]:
    """How far assets got, by their newest materialisations: one query for all."""
    found: dict[str, datetime | None] = {}
    for record in instance.get_asset_records([dg.AssetKey(ref.split("/")) for ref in refs]):
        event = record.asset_entry.last_materialization
        shown = {} if event is None or event.asset_materialization is None else event.asset_materialization.metadata
        value = shown.get(COMPLETE_TO) or shown.get(WATERMARK)
        if isinstance(value, dg.TimestampMetadataValue):
            found["/".join(record.asset_entry.asset_key.path)] = datetime.fromtimestamp(value.value, UTC)
    return found


def late_sensors(
    team: Team, specs: Sequence[Spec], *, status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED
) -> list[dg.SensorDefinition]:
    """One sensor when the team promises a freshness, else none."""
    if not any(isinstance(spec, FeatureView) and spec.online is not None and spec.online.freshness is not None for spec in specs):
        return []
    refs = sorted(promises_of(team, specs, {}))

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=EVERY_S,
        default_status=status,
        description="Names what holds published views up, once, on its own page: the cause, not everything that waits for it.",
        tags={"team": team.name},
    )
    def tell(context: dg.SensorEvaluationContext, clock: dg.ResourceParam[StackClock]) -> dg.SensorResult:
        found = late_upstreams(promises_of(team, specs, complete(context.instance, refs)), now=clock.now())
        new, told = news(found, unpack_told(context.cursor))
        notices = [late_notice(one, f"{team.name}/{NAME}") for one in new]
        notices = [one for one in notices if not told_before(context.instance, one)]
        for one in notices:
            context.log.warning(str(one.description))
        why = f"{len(found)} late, {len(notices)} told now" if found else "everything is as fresh as it was promised"
        return dg.SensorResult(asset_events=notices, cursor=pack_told(told), skip_reason=why)

    return [tell]
