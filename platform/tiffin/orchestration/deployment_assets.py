"""An endpoint: the rendered ensemble, promoted, live when an inference has succeeded."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from collections.abc import Mapping

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.errors import NotFound
from tiffin.manifests.records import DeploymentRecord, ViewRecord
from tiffin.orchestration.asset_keys import deployment_path, model_path, online_path
from tiffin.orchestration.failures import failures
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.metadata import limits_metadata
from tiffin.orchestration.metadata_page import Edges, Page
from tiffin.orchestration.resource_keys import Endpoint, Promotions
from tiffin.orchestration.run_identity import began_at, fence_of, naming_the_winner
from tiffin.orchestration.versions import deployment_version
from tiffin.registry.models import current, load_model
from tiffin.serving.deployment import Deployment
from tiffin.serving.publish import publish_deployment
from tiffin.serving.render import render
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import manifest_key
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore

__all__ = ["deployment_asset", "render_deployment"]


def render_deployment(
    deployment: Deployment,
    *,
    team: Team,
    views: Mapping[str, ViewRecord],
    tables: TableStore,
    dev: ObjectStore,
    run_id: str | None,
    fence: Fence | None = None,
) -> tuple[str, DeploymentRecord]:
    """Render the newest model version of dev and store the result there; nothing is live by that.

    Golden questions are the newest rows of the very table version that the model was trained on.

    Returns:
        The manifest's digest and the record.
    """
    since = began_at(dev, "deployment", team.name, deployment.name)
    name = deployment.model.name
    pointer = current(dev, "model", team.name, name)
    if pointer is None:
        raise NotFound(
            f"deployment {deployment.name!r}: there is no version of model {name!r} yet", fix=f"materialise '{team.name}/{name}' first"
        )
    model, files = load_model(dev, pointer.manifest)
    rows = tables.read(model.table.ref, version=model.table.version)
    rendered = render(
        deployment,
        team=team.name,
        owner=team.owner,
        model=model,
        model_digest=pointer.manifest,
        model_files=files,
        views=list(views.values()),
        sample=rows.slice(max(rows.num_rows - deployment.golden_rows, 0)),
        code=model.code,
        run_id=run_id,
    )
    with naming_the_winner(dev, "deployment"):
        return publish_deployment(dev, rendered, since=since, fence=fence), rendered.record


def deployment_asset(
    team: Team, deployment: Deployment, views: Mapping[str, ViewRecord], *, edges: Edges | None = None
) -> dg.AssetsDefinition:
    """`<team>/<deployment>`: materialised when the endpoint answers from the new manifest."""
    page = Page.of(team, deployment_path(team.name, deployment.name), deployment.description, edges)
    upstream = [model_path(team.name, deployment.model.name), *map(online_path, views)]

    @dg.asset(
        key=list(deployment_path(team.name, deployment.name)),
        deps=[dg.AssetKey(list(path)) for path in upstream],
        group_name=team.name,
        owners=[team.owner],
        kinds={"triton", deployment.model.trainer},
        code_version=deployment_version(deployment, views),
        op_tags=compute_tags(deployment.compute),
        description=deployment.description or None,
        metadata={"endpoint": deployment.name, "views": ", ".join(views)},
    )
    def endpoint_edition(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[TableStore],
        dev_objects: dg.ResourceParam[ObjectStore],
        promotions: dg.ResourceParam[Promotions],
        endpoint: dg.ResourceParam[Endpoint],
    ) -> dg.MaterializeResult[None]:
        watch = page.watch(context.instance)
        with failures():
            fence = fence_of(context, dev_objects)
            digest, record = render_deployment(
                deployment, team=team, views=views, tables=tables, dev=dev_objects, run_id=context.run.run_id, fence=fence
            )
            pointer = promotions.promote("deployment", digest, fence=fence)
            waited_s = endpoint.wait_live(team.name, deployment.name, digest)
        cost = watch.metadata()
        where = {
            "Manifest": f"`{manifest_key('deployment', digest)}`",
            "Model manifest": f"`{manifest_key('model', record.model)}`",
            "Triton model": f"`{deployment.name}`, the steps of `{record.ensemble}`",
            "Run": f"[{context.run.run_id[:8]}](/runs/{context.run.run_id})",
        }
        content = f"{', '.join(record.outputs)} from {len(record.steps)} steps and {len(record.views)} views"
        shown = page.card(cost, fresh=f"live {waited_s:.1f} s after its promotion", content=content, where=where)
        return dg.MaterializeResult(
            metadata={
                **cost,
                **shown,
                **limits_metadata(record.limits, record.outputs),
                "manifest": digest,
                "model_manifest": record.model,
                "ensemble": record.ensemble,
                "steps": dg.MetadataValue.json(list(record.steps)),
                "size_bytes": sum(file.size_bytes for file in record.files),
                "sequence": pointer.sequence,
                "live_after_s": waited_s,
            },
            data_version=dg.DataVersion(digest),
        )

    return endpoint_edition
