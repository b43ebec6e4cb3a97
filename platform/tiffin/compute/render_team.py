"""Everything a cluster holds for its teams, as plain objects and as the files under `deploy/teams/`.

Pure: the same two inputs are the same bytes, so a committed rendering can be compared, reviewed and applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tiffin.compute.allotment import Allotment, allot, allot_all
from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.render_instance import INSTANCE, instance_map
from tiffin.compute.render_labels import TEAM
from tiffin.compute.render_location import team_location, workspace
from tiffin.compute.render_namespace import team_namespace
from tiffin.compute.render_network import team_network
from tiffin.compute.render_queues import shared_queues, team_queues
from tiffin.compute.render_rights import shared_rights, team_rights
from tiffin.compute.render_storage import bucket_policy
from tiffin.compute.team_file import TeamFile

__all__ = ["GENERATED", "dump", "files", "identity", "render", "render_all", "yaml_text"]

GENERATED = "# Written by `tiffin teams render`; change the team's team.yaml or deploy/platform.yaml instead.\n"
Identity = tuple[str, str, str, str]
"""apiVersion, kind, namespace ("" when cluster-wide), name."""


def render(team: TeamFile | Allotment, platform: PlatformFile, *, instance: str | None = None) -> list[dict[str, Any]]:
    """One team's objects, in an order in which they can be made.

    Args:
        instance: `dagster.yaml`, for run workers and steps.

    Raises:
        Invalid: the platform refuses the team's file.
    """
    one = team if isinstance(team, Allotment) else allot(team, platform)
    return [
        *team_namespace(one, platform),
        *team_rights(one, platform),
        *team_network(one, platform),
        *team_queues(one, platform),
        *([] if instance is None else [instance_map(one.namespace, instance, platform, team=one.team)]),
        *team_location(one, platform),
    ]


def render_all(teams: Sequence[TeamFile], platform: PlatformFile, *, instance: str | None = None) -> list[dict[str, Any]]:
    """What all teams share, then each team's.

    Args:
        instance: as `render`.

    Raises:
        Invalid: as `allot_all`.
    """
    found = allot_all(teams, platform)
    own = (item for one in found for item in render(one, platform, instance=instance))
    return [*shared_queues(platform), *own, *shared_rights(found, platform)]


def files(teams: Sequence[TeamFile], platform: PlatformFile, access: Mapping[str, str], instance: str) -> dict[str, str]:
    """Path under `deploy/teams/` to text: for people who review, and for tools that know kustomize.

    Args:
        access: a team's rules in the online store, which is not this room's (see `tiffin.cli.teams_files`).
        instance: Dagster's `dagster.yaml`, which is not either.
    """
    found = allot_all(teams, platform)
    texts = {"shared.yaml": yaml_text([*shared_queues(platform), *shared_rights(found, platform)])}
    for one in found:
        texts[f"{one.team}/objects.yaml"] = yaml_text(render(one, platform, instance=instance))
        for environment in ("dev", "prod"):
            texts[f"{one.team}/s3-{environment}.json"] = json.dumps(bucket_policy(one, environment, platform), indent=2) + "\n"
        texts[f"{one.team}/online.acl"] = access[one.team]
    texts["dagster.yaml"] = GENERATED + instance
    texts["workspace.yaml"] = GENERATED + dump(workspace(found, platform))
    texts["prices.yaml"] = GENERATED + dump(platform.prices)
    texts["budgets.yaml"] = GENERATED + dump({one.team: budget_line(one) for one in found})
    home = platform.prefix + platform.namespace
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["shared.yaml", *(f"{one.team}/objects.yaml" for one in found)],
        # Dagster's parts look again when the name's hash changes, that is when a team comes or goes
        "configMapGenerator": [
            {"name": "dagster-workspace", "namespace": home, "files": ["workspace.yaml"]},
            # by its bare name: run workers of the platform's own location mount it there
            {"name": INSTANCE, "namespace": home, "files": ["dagster.yaml"], "options": {"disableNameSuffixHash": True}},
            {"name": "dagster-prices", "namespace": home, "files": ["prices.yaml", "budgets.yaml"]},
        ],
    }
    texts["kustomization.yaml"] = GENERATED + dump(kustomization)
    return texts


def budget_line(one: Allotment) -> dict[str, str | None]:
    """What the platform's own location must know of a team to hold its backfills."""
    budget = one.budget_usd_per_month
    return {"namespace": one.namespace, "usd_per_month": None if budget is None else str(budget)}


def identity(item: Mapping[str, Any]) -> Identity:
    """What makes an object this one."""
    metadata = item["metadata"]
    return item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"]


def team_of(item: Mapping[str, Any]) -> str | None:
    """Whose an object is; None when it is shared."""
    found = item["metadata"].get("labels", {}).get(TEAM)
    return None if found is None else str(found)


def yaml_text(items: Iterable[Mapping[str, Any]]) -> str:
    """Objects as one YAML stream, one spelling per value."""
    return GENERATED + "".join(f"---\n{dump(item)}" for item in items)


class PlainDumper(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
    """Without anchors: two equal lists are written twice, as a reader expects."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump(value: Mapping[str, Any]) -> str:
    """One document."""
    return str(yaml.dump(value, Dumper=PlainDumper, sort_keys=False, width=140, allow_unicode=True))
