"""The teams' declared files and their rendering, read and put together for `tiffin teams`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.core.errors import NotFound, nearest

if TYPE_CHECKING:
    from tiffin.compute.platform_file import PlatformFile
    from tiffin.compute.team_file import TeamFile

__all__ = ["instance_text", "load", "rendered", "stale"]


def load(platform: Path, assets: Path) -> tuple[list[TeamFile], PlatformFile]:
    """Every `<assets>/<team>/team.yaml`, in the order of their names, and the platform's file.

    Raises:
        NotFound: no platform file, or no team.
        Invalid: a file that breaks a rule, or a team in another team's folder.
    """
    from tiffin.compute.declared_file import read_file  # pydantic, yaml: not for --help
    from tiffin.compute.platform_file import PlatformFile
    from tiffin.compute.team_file import TeamFile
    from tiffin.core.errors import Invalid

    found = []
    for path in sorted(assets.glob("*/team.yaml")):
        team = read_file(TeamFile, path)
        if team.team != path.parent.name:
            raise Invalid(f"{path} is of team {team.team!r}", fix=f"write team: {path.parent.name}, or move it to {assets / team.team}")
        found.append(team)
    if not found:
        raise NotFound(f"there is no team.yaml under {str(assets)!r}", fix="run this in the project's folder, or write one there")
    return found, read_file(PlatformFile, platform)


def rendered(teams: Sequence[TeamFile], platform: PlatformFile, *, only: str | None = None) -> dict[str, str]:
    """Path under the output folder to text, with each team's users of the online store.

    Args:
        only: one team's files alone.

    Raises:
        Invalid: the platform refuses a team's file; two teams share a key token in the online store.
        NotFound: no team is called `only`.
    """
    from tiffin.compute.render_team import files
    from tiffin.online.access import publisher_rules, reader_rules

    names = [team.team for team in teams]
    if only is not None and only not in names:
        raise NotFound(f"there is no team {only!r}", fix=nearest(only, names))
    access = {}
    for team in teams:
        reads = [team.team, *(name for name in team.reads if name != "raw")]
        users = {"publisher": publisher_rules(team.team, teams=names), "reader": reader_rules(reads, teams=names)}
        # `resetpass` would be a password to set; without one nobody can log in until the operator adds its hash
        access[team.team] = "".join(f"user {team.team}-{role} {' '.join(rules)}\n" for role, rules in users.items())
    texts = files(teams, platform, access, instance_text(teams, platform))
    return texts if only is None else {path: text for path, text in texts.items() if path.startswith(f"{only}/")}


def instance_text(teams: Sequence[TeamFile], platform: PlatformFile) -> str:
    """Dagster's `dagster.yaml` for these teams.

    Raises:
        Invalid: as `rendered`.
    """
    from tiffin.compute.allotment import allot_all
    from tiffin.compute.render_instance import launcher, storage
    from tiffin.compute.render_team import dump
    from tiffin.orchestration.kueue_instance import cluster_instance

    buckets = platform.buckets
    return dump(
        cluster_instance(
            launcher=launcher(allot_all(teams, platform), platform),
            bucket=buckets.dev,
            endpoint=buckets.endpoint,
            region=buckets.region,
            storage=storage(platform),
        )
    )


def stale(texts: dict[str, str], folder: Path, *, only: str | None = None) -> dict[str, str]:
    """Files of the output folder that are not as rendered: path to `missing`, `changed` or `leftover`."""
    root = folder if only is None else folder / only
    present = {str(path.relative_to(folder)) for path in root.rglob("*") if path.is_file()} if root.exists() else set()
    found = dict.fromkeys(present - set(texts), "leftover")
    for path, text in texts.items():
        if path not in present:
            found[path] = "missing"
        elif (folder / path).read_text() != text:
            found[path] = "changed"
    return dict(sorted(found.items()))
