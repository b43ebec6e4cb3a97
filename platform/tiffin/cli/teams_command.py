"""`tiffin teams`: from team.yaml to what the cluster holds for a team."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tiffin.cli.options import JsonOption
from tiffin.cli.output import EPILOG, say, show, show_table, working
from tiffin.cli.teams_files import instance_text, load, rendered, stale

if TYPE_CHECKING:
    from tiffin.compute.apply import Change, Door
    from tiffin.compute.platform_file import PlatformFile
    from tiffin.compute.team_file import TeamFile

__all__ = ["teams"]

teams = typer.Typer(name="teams", help="Teams on the cluster: namespaces, rights, queues and quotas.", epilog=EPILOG, no_args_is_help=True)
PlatformOption = Annotated[Path, typer.Option("--platform", help="What the installation has and allows.")]
AssetsOption = Annotated[Path, typer.Option("--assets", help="Where the teams' packages with their team.yaml are.")]
ClusterOption = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="A file, or in-cluster.  [default: $TIFFIN_CLUSTER, else ~/.kube/config]", show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Also delete the namespaces of teams that are gone, with all they hold.")]
PLATFORM, ASSETS, OUT = Path("deploy/platform.yaml"), Path("assets"), Path("deploy/teams")


@teams.command("list", epilog=EPILOG)
def list_teams(platform: PlatformOption = PLATFORM, assets: AssetsOption = ASSETS, json: JsonOption = False) -> None:
    """Every team: namespace, quotas, budget.

    Example: tiffin teams list
    """
    from tiffin.compute.allotment import allot_all

    found = allot_all(*load(platform, assets))
    if json:
        value = [
            {
                "team": one.team,
                "namespace": one.namespace,
                "owner": one.owner,
                "quotas": {flavor: {name: quota.model_dump() for name, quota in quotas.items()} for flavor, quotas in one.quotas.items()},
                "budget_usd_per_month": None if one.budget_usd_per_month is None else str(one.budget_usd_per_month),
            }
            for one in found
        ]
        show({"teams": value}, as_json=True, text="")
        return
    rows = []
    for one in found:
        owned = [
            f"{flavor}: " + ", ".join(f"{name} {quota.nominal}" for name, quota in quotas.items() if quota.nominal != "0")
            for flavor, quotas in one.quotas.items()
            if any(quota.nominal != "0" for quota in quotas.values())
        ]
        budget = "none" if one.budget_usd_per_month is None else f"{one.budget_usd_per_month} USD a month"
        rows.append([one.team, one.namespace, "; ".join(owned), ", ".join(one.quotas), budget, one.owner])
    show_table("", ["team", "namespace", "quota", "may use", "budget", "owner"], rows)


@teams.command("render", epilog=EPILOG)
def render(
    team: Annotated[str | None, typer.Argument(help="One team alone.  [default: all of them]", show_default=False)] = None,
    out: Annotated[Path, typer.Option("--out", help="The folder that the files are written to.")] = OUT,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 when a file is not as it would be rendered.")] = False,
    platform: PlatformOption = PLATFORM,
    assets: AssetsOption = ASSETS,
    json: JsonOption = False,
) -> None:
    """Write what the cluster is to hold: one folder a team, to be reviewed and committed.

    Example: tiffin teams render

    Example: tiffin teams render network --check
    """
    texts = rendered(*load(platform, assets), only=team)
    found = stale(texts, out, only=team)
    if not check:
        for path, what in found.items():
            if what == "leftover":
                (out / path).unlink()
                continue
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_text(texts[path])
    words = "\n".join(f"{what:9} {out / path}" for path, what in found.items())
    done = f"{len(texts)} files under {out} are as rendered"
    text = words or done if check else f"{words}\n{done}".lstrip("\n")
    show({"out": str(out), "files": sorted(texts), "stale": found, "written": not check}, as_json=json, text=text)
    sys.exit(1 if check and found else 0)


@teams.command("diff", epilog=EPILOG)
def diff(
    kubeconfig: ClusterOption = None,
    yes: YesOption = False,
    platform: PlatformOption = PLATFORM,
    assets: AssetsOption = ASSETS,
    json: JsonOption = False,
) -> None:
    """What `apply` would change, as the API server itself says; exit 1 when there is something.

    Example: tiffin teams diff
    """
    changes = changes_of(*load(platform, assets), door_of(kubeconfig), yes=yes, quiet=json)
    tell(changes, as_json=json, done="the cluster is as rendered")
    sys.exit(1 if any(change.action != "keep" for change in changes) else 0)


@teams.command("apply", epilog=EPILOG)
def apply(
    kubeconfig: ClusterOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The API server checks everything and changes nothing.")] = False,
    yes: YesOption = False,
    platform: PlatformOption = PLATFORM,
    assets: AssetsOption = ASSETS,
    json: JsonOption = False,
) -> None:
    """Make the cluster as rendered: server-side apply, then delete what nobody declares any more.

    A team's namespace is never deleted without --yes. Doing it twice changes nothing.

    Example: tiffin teams apply --dry-run

    Example: tiffin teams apply
    """
    from tiffin.compute.apply import apply_changes

    door = door_of(kubeconfig)
    changes = changes_of(*load(platform, assets), door, yes=yes, quiet=json)
    if not dry_run:
        with working("applying", quiet=json) as bar:
            for place, _ in enumerate(apply_changes(changes, door), 1):
                bar.update(place, len(changes))
    tell(changes, as_json=json, done="the cluster is as rendered", dry_run=dry_run)


def door_of(kubeconfig: str | None) -> Door:
    """The cluster that a command is about."""
    from tiffin.compute.kubernetes import KubernetesCluster  # 0.7 s
    from tiffin.core.settings import Settings

    return KubernetesCluster.connect(kubeconfig or Settings.from_environment().cluster or Path("~/.kube/config").expanduser())


def changes_of(members: list[TeamFile], platform: PlatformFile, door: Door, *, yes: bool, quiet: bool) -> list[Change]:
    """Everything that is not as rendered."""
    from tiffin.compute.apply import compare
    from tiffin.compute.render_team import render_all

    with working("asking the cluster", quiet=quiet):
        items = render_all(members, platform, instance=instance_text(members, platform))
        return compare(items, door, installation=platform.name, delete_namespaces=yes)


def tell(changes: list[Change], *, as_json: bool, done: str, dry_run: bool = False) -> None:
    """Changes for people, or for programs."""
    lines = [line for change in changes for line in (change.words, *(f"    {line}" for line in change.lines))]
    if dry_run and not as_json:
        say("nothing was changed (--dry-run)")
    value = {"changes": [change.to_json() for change in changes], "dry_run": dry_run}
    show(value, as_json=as_json, text="\n".join(lines) or done)
