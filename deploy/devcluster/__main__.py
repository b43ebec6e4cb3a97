"""`python -m deploy.devcluster build | up | status | smoke | env | kill | down`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from deploy.devcluster import cluster, smoke
from deploy.devcluster.build import build
from deploy.devcluster.home import Home, Wishes
from tiffin.core.errors import PlatformError
from tiffin.core.settings import Settings

HOME = Path(".tiffin/cluster")
STARTED = time.monotonic()


def say(text: str) -> None:
    """Progress, for people."""
    sys.stderr.write(f"{time.monotonic() - STARTED:6.1f} s  {text}\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    whole = argparse.ArgumentParser(prog="python -m deploy.devcluster", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    for name, text in (
        ("build", "build the programs into the cache, if they are not there"),
        ("up", "start a cluster, or mend it"),
        ("status", "which parts are up, as JSON"),
        ("smoke", "two teams: borrow, preempt, resume; ends with an error if one of them fails"),
        ("env", "shell lines that set KUBECONFIG and PATH"),
        ("kill", "SIGKILL one part"),
        ("down", "stop everything and remove the folder"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        if name != "build":
            one.add_argument("--home", type=Path, default=HOME, help="the cluster's folder (default: %(default)s)")
        if name in ("build", "up"):
            one.add_argument("--nodes", choices=("process", "kubelet", "none"), default="process", help="what pods are")
        if name == "up":
            late = "Kueue evicts a Job whose pods take longer (default: %(default)s)"
            one.add_argument("--pods-ready", type=int, default=300, metavar="SECONDS", help=late)
        if name == "kill":
            one.add_argument("part", choices=cluster.PARTS)
    return whole


def run(asked: argparse.Namespace) -> None:
    """One command."""
    cache = Settings.from_environment().cache
    if asked.command == "build":
        sys.stdout.write(f"{build(cache, kubelet=asked.nodes == 'kubelet', say=say)}\n")
    elif asked.command == "up":
        programs = build(cache, kubelet=asked.nodes == "kubelet", say=say)
        home = cluster.up(asked.home, programs, Wishes(nodes=asked.nodes, pods_ready_s=asked.pods_ready), say=say)
        sys.stdout.write(f"export KUBECONFIG={home.kubeconfig}\n")
    elif asked.command == "status":
        sys.stdout.write(json.dumps(cluster.status(asked.home)) + "\n")
    elif asked.command == "smoke":
        smoke.smoke(Home(asked.home.resolve()), say=say)
    elif asked.command == "env":
        home = Home(asked.home.resolve())
        sys.stdout.write(f"export KUBECONFIG={home.kubeconfig}\nexport PATH={home.read().programs}:$PATH\n")
    elif asked.command == "kill":
        cluster.kill(asked.home, asked.part)
    elif asked.command == "down":
        cluster.down(asked.home, say=say)


def main() -> int:
    """Run, and say what is wrong in words."""
    try:
        run(parser().parse_args())
    except PlatformError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
