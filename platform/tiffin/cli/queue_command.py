"""`tiffin queue`: what waits on the cluster, why, until when, and what would help; and to change its turn."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.options import JsonOption
from tiffin.cli.output import EPILOG, show, show_table, working

if TYPE_CHECKING:
    from tiffin.compute.kubernetes import KubernetesCluster
    from tiffin.compute.queue_view import QueueView, Row
    from tiffin.compute.world import World

__all__ = ["queue"]

queue = typer.Typer(
    name="queue",
    epilog=EPILOG,
    invoke_without_command=True,
)
ClusterOption = Annotated[
    str | None,
    typer.Option("--kubeconfig", help="A file, or in-cluster.  [default: $TIFFIN_CLUSTER, else ~/.kube/config]", show_default=False),
]
StepArgument = Annotated[str, typer.Argument(help="RUN or RUN/STEP; a run may be cut to its first letters. Or a Job's name.")]
EVERY_S = 2.0


@queue.callback()
def list_queue(
    context: typer.Context,
    team: Annotated[str | None, typer.Option("--team", help="One team alone, with what stands before it.", show_default=False)] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            help="quota:QUEUE/RESOURCE=N, borrow:QUEUE/RESOURCE=N, lend:QUEUE/RESOURCE=N, priority:RUN=CLASS or "
            "flavor:RUN=FLAVOR (or RUN/STEP); repeat for several at once. Changes nothing: shows the starts that would follow.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help=f"Ask again every {EVERY_S:g} s until interrupted.")] = False,
    kubeconfig: ClusterOption = None,
    json: JsonOption = False,
) -> None:
    """What waits on the cluster: where, why, behind whom, until when, and what would help.

    Example: tiffin queue --team network

    Example: tiffin queue --what-if quota:team-network/cpu=20
    """
    if context.invoked_subcommand is not None:
        return
    with cluster_of(kubeconfig) as cluster:
        while True:
            with working("asking the cluster", quiet=json):
                world = world_of(cluster)
                view = view_of(world)
                shown = view.of_team(team) if team else view
                after = changed_view(world, what_if, team) if what_if else None
            if watch and not json:
                print("\x1b[2J\x1b[H", end="")
            if after is None:
                tell(shown, as_json=json)
            else:
                tell_difference(shown, after, what_if or [], as_json=json)
            if not watch:
                return
            time.sleep(EVERY_S)


@queue.command("pause", epilog=EPILOG)
def pause(step: StepArgument, kubeconfig: ClusterOption = None, json: JsonOption = False) -> None:
    """Take a step out of its queue, or off its quota; its run goes on waiting for it.

    Example: tiffin queue pause 4f2a9c1e/eta
    """
    steer(step, "paused", kubeconfig, as_json=json)


@queue.command("resume", epilog=EPILOG)
def resume(step: StepArgument, kubeconfig: ClusterOption = None, json: JsonOption = False) -> None:
    """Put a paused step back at its old place.

    Example: tiffin queue resume 4f2a9c1e/eta
    """
    steer(step, "resumed", kubeconfig, as_json=json)


@queue.command("priority", epilog=EPILOG)
def priority(
    step: StepArgument,
    name: Annotated[str, typer.Argument(help="A WorkloadPriorityClass: prod, default, backfill.")],
    kubeconfig: ClusterOption = None,
    json: JsonOption = False,
) -> None:
    """Give a step another priority, also while it runs.

    Example: tiffin queue priority 4f2a9c1e prod
    """
    steer(step, f"given priority {name}", kubeconfig, as_json=json, priority=name)


def cluster_of(kubeconfig: str | None) -> KubernetesCluster:
    """The cluster that a command is about."""
    from tiffin.compute.kubernetes import KubernetesCluster  # 0.7 s
    from tiffin.core.settings import Settings

    return KubernetesCluster.connect(kubeconfig or Settings.from_environment().cluster or Path("~/.kube/config").expanduser())


def world_of(cluster: KubernetesCluster) -> World:
    from tiffin.compute.world import World

    return World.parse(cluster.queue_objects())


def view_of(world: World) -> QueueView:
    from tiffin.compute.forecast import history_of
    from tiffin.compute.queue_view import view_queues

    return view_queues(world, history_of(world.workloads.values()), now=datetime.now(UTC))


def changed_view(world: World, what_if: list[str], team: str | None) -> QueueView:
    from tiffin.compute.queue_change import changed, parse_change

    view = view_of(changed(world, [parse_change(text) for text in what_if]))
    return view.of_team(team) if team else view


def tell(view: QueueView, *, as_json: bool) -> None:
    """The view as one JSON object, or as two tables."""
    if as_json:
        show(view.to_json(), as_json=True, text="")
        return
    if not view.rows:
        print("nothing waits and nothing runs")
    else:
        show_table("", ["", "step", "team", "queue", "priority", "state", "since", "starts", "why"], [line_of(row) for row in view.rows])
    helped = [f"{row.name}: {'; or '.join(one.words for one in row.unblocks)}" for row in view.rows if row.unblocks]
    if helped:
        print("\nwould start at once with\n  " + "\n  ".join(helped))
    if view.in_circles:
        print("\nevict each other again and again: " + ", ".join(view.in_circles))
    quotas = [line for line in view.quotas if line.used or line.waiting]
    if quotas:
        from tiffin.compute.quantities import quantity_text as text

        print()
        rows = [
            [one.queue, one.flavor, one.resource, *map(text, (one.used, one.quota, one.borrowed, one.free)), str(one.waiting)]
            for one in quotas
        ]
        show_table("", ["queue", "flavor", "resource", "used", "quota", "borrowed", "free", "waiting"], rows)


def line_of(row: Row) -> list[str]:
    from tiffin.compute.messages import duration_words

    why = [row.why, f"behind {row.behind[-1]}" if row.behind else "", f"preempted by {row.preempted_by}" if row.preempted_by else ""]
    return [
        "" if row.position is None else str(row.position),
        row.name,
        row.team,
        row.local_queue,
        row.priority_class or str(row.priority),
        row.state,
        duration_words(row.since_s),
        start_words(row),
        "; ".join(part for part in why if part),
    ]


def start_words(row: Row) -> str:
    from tiffin.compute.messages import duration_words

    if row.position is None:
        return ""
    if row.expected is None or row.expected.start_s is None:
        return "not as things are"
    return ("in " if row.expected.known else "perhaps in ") + duration_words(row.expected.start_s)


def tell_difference(before: QueueView, after: QueueView, what_if: list[str], *, as_json: bool) -> None:
    """Each waiting step's start before and after."""
    if as_json:
        show({"what_if": what_if, "before": before.to_json(), "after": after.to_json()}, as_json=True, text="")
        return
    later = {row.uid: row for row in after.rows}
    rows = [
        [row.name, row.team, str(row.position), str(later[row.uid].position or ""), start_words(row), start_words(later[row.uid])]
        for row in before.rows
        if row.position is not None and row.uid in later
    ]
    if not rows:
        print("nothing waits")
        return
    show_table("with " + " and ".join(what_if), ["step", "team", "place", "then", "starts", "then"], rows)


def steer(target: str, done: str, kubeconfig: str | None, *, as_json: bool, priority: str | None = None) -> None:
    """Pause, resume or reprioritise every live step that `target` means."""
    from tiffin.compute.queue_change import find_steps

    verb: dict[str, Any] = {"paused": "pause", "resumed": "resume"}
    with cluster_of(kubeconfig) as cluster:
        with working("asking the cluster", quiet=as_json):
            steps = find_steps(world_of(cluster), target, doing=f"tiffin queue {verb.get(done, 'priority')}")
        names = [(one.namespace, one.owner or one.name) for one in steps]
        for namespace, name in names:
            if priority is not None:
                cluster.set_priority(namespace, name, priority)
            else:
                getattr(cluster, verb[done])(namespace, name)
    text = "\n".join(f"{namespace}/{name} {done}" for namespace, name in names)
    show({"steps": [{"namespace": namespace, "job": name} for namespace, name in names], "done": done}, as_json=as_json, text=text)
    sys.exit(0)
