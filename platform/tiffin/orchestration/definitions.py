"""A team's specs as a Dagster code location."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid
from tiffin.core.settings import Settings
from tiffin.core.spec import Spec
from tiffin.features.view import FeatureView, Source
from tiffin.orchestration.asset_depth import check_depth
from tiffin.orchestration.asset_keys import AssetPath, deployment_path, model_path, online_path, source_path, table_path, view_path
from tiffin.orchestration.backfill_sensor import retry_sensor
from tiffin.orchestration.catalog import edges_of, read_catalog, read_edges, resolve_views
from tiffin.orchestration.deployment_assets import deployment_asset
from tiffin.orchestration.kueue_team_executor import team_executor
from tiffin.orchestration.metadata_card import standing_on
from tiffin.orchestration.no_pickles import RefusingIOManager
from tiffin.orchestration.online_assets import online_asset
from tiffin.orchestration.publish_sensor import publish_sensors
from tiffin.orchestration.resource_keys import REQUIRED
from tiffin.orchestration.sensors import sensors_of
from tiffin.orchestration.sensors_lateness import late_sensors
from tiffin.orchestration.source_assets import source_asset
from tiffin.orchestration.training_assets import model_asset, table_asset
from tiffin.orchestration.view_assets import view_asset
from tiffin.serving.deployment import Deployment
from tiffin.training.model import Model
from tiffin.training.table import TrainingTable

__all__ = ["team_assets", "team_definitions"]


def team_assets(team: Team, specs: Sequence[Spec], *, catalog: Path | None = None) -> list[dg.AssetsDefinition]:
    """One asset per spec, two for a view that is served online.

    Args:
        catalog: compiled views of all teams; needed to name another team's view, and to know which teams stand on one's own.

    Raises:
        Invalid: something that is not a spec, a spec without what it stands on, or two of one name.
        NotFound: a view that the catalog does not hold.
    """
    distinct(team, specs)
    known = {} if catalog is None else read_catalog(catalog)
    edges = standing_on({**({} if catalog is None else read_edges(catalog)), **edges_of(team, specs)})
    times = owners_times(specs)
    found: list[dg.AssetsDefinition] = []
    for spec in specs:
        match spec:
            case Source():
                found.append(source_asset(team, spec, edges=edges))
            case FeatureView():
                record = spec.record(team=team.name, owner=team.owner)
                found.append(view_asset(team, spec, record, owners_time=times.get(spec.source.name), edges=edges))
                if spec.online is not None:
                    found.append(online_asset(team, spec, record, edges=edges))
            case TrainingTable():
                found.append(table_asset(team, spec, resolve_views(spec, team=team, catalog=known), edges=edges))
            case Model():
                listed(team, specs, spec.table, wanted_by=f"model {spec.name!r}")
                found.append(model_asset(team, spec, resolve_views(spec.table, team=team, catalog=known), edges=edges))
            case Deployment():
                listed(team, specs, spec.model, wanted_by=f"deployment {spec.name!r}")
                found.append(deployment_asset(team, spec, resolve_views(spec.model.table, team=team, catalog=known), edges=edges))
    return found


def owners_times(specs: Sequence[Spec]) -> dict[str, str]:
    """By source that the team lands, the time column that it declares; another team's source is not among them."""
    landed = [spec for spec in specs if isinstance(spec, Source) and spec.load is not None]
    return {spec.name: spec.time for spec in reversed(landed)}


def listed(team: Team, specs: Sequence[Spec], needed: TrainingTable | Model, *, wanted_by: str) -> None:
    """A spec that another one stands on is among the team's specs, so that it is an asset too."""
    if not any(spec is needed for spec in specs):
        kind = "training table" if isinstance(needed, TrainingTable) else "model"
        raise Invalid(
            f"team {team.name!r}: {wanted_by} stands on {kind} {needed.name!r}, which is not among the team's specs",
            fix=f"add {needed.name!r} to team_definitions(...)",
        )


def distinct(team: Team, specs: Sequence[Spec]) -> None:
    """No two specs become one asset."""
    seen: set[AssetPath] = set()
    for path in (path for spec in specs for path in paths_of(team, spec)):
        if path in seen:
            raise Invalid(
                f"team {team.name!r}: two specs become the asset {'/'.join(path)!r}",
                fix="rename one of them; a deployment, its model and its table need three names",
            )
        seen.add(path)


def paths_of(team: Team, spec: Spec) -> list[AssetPath]:
    """The assets that a spec becomes."""
    match spec:
        case Source():
            return [source_path(spec.name)]
        case FeatureView():
            ref = f"{team.name}/{spec.name}"
            return [view_path(ref)] if spec.online is None else [view_path(ref), online_path(ref)]
        case TrainingTable():
            return [table_path(team.name, spec.name)]
        case Model():
            return [model_path(team.name, spec.name)]
        case Deployment():
            return [deployment_path(team.name, spec.name)]
    raise Invalid(
        f"team {team.name!r}: {type(spec).__name__} does not become an asset",
        fix="give sources with load=, feature views, training tables, models and deployments",
    )


def team_definitions(
    team: Team,
    *specs: Spec,
    catalog: Path | None = None,
    resources: Mapping[str, object],
    others: Sequence[dg.AssetsDefinition] = (),
    sensors: Sequence[dg.SensorDefinition] = (),
    settings: Settings | None = None,
) -> dg.Definitions:
    """Everything a team declares as one code location.

    Steps hand each other names, never values: they share one process, or each is a Job of its own where `settings` names a cluster.

    Args:
        resources: the stack's parts under the names in `resource_keys.REQUIRED`; see `resources.stack`.
        others: assets that the team writes in plain Dagster, beside its specs.
        sensors: further ones, such as `sensors.landing.landing_sensor`, beside those that `after=` declares.
        settings: where we run; None reads the environment.

    Raises:
        Invalid, NotFound: at import, see `team_assets` and `check_depth`.
    """
    missing = [name for name in REQUIRED if name not in resources]
    if missing:
        raise Invalid(
            f"team {team.name!r}: resource {missing[0]!r} is not bound",
            fix="pass resources=stack_resources(), or bind every name in tiffin.orchestration.resource_keys.REQUIRED",
        )
    where = Settings.from_environment() if settings is None else settings
    assets = [*team_assets(team, specs, catalog=catalog), *others]
    if others:  # specs alone make no chain of more than five
        check_depth(team, assets)
    return dg.Definitions(
        assets=assets,
        sensors=[
            retry_sensor(),
            *publish_sensors(team, specs),
            *late_sensors(team, specs),
            *sensors_of(team, specs, {} if catalog is None else read_catalog(catalog)),
            *sensors,
        ],
        resources={**resources, "io_manager": RefusingIOManager()},
        executor=dg.in_process_executor if where.cluster is None else team_executor,
    )
