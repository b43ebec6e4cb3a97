"""Drive Dagster until every asset is materialised: launch what is missing or out of date, in order, and wait.

Independent of the library: it talks GraphQL to a running webserver and knows assets only by what
that says. An asset is out of date when it (or one of its partitions) was never materialised, its
code version changed, or an asset it depends on was materialised after it. Assets of one code
location that can be materialised together share a run; a partitioned one runs as a single range.

With `--latest N` an asset of more than N partitions is driven over its latest N alone, and counts as
complete with N of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

CODE_VERSION = "dagster/code_version"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
REQUEST_TIMEOUT_S = 60.0
POLL_S = 0.5
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

WORKSPACE = """{ workspaceOrError { __typename ... on PythonError { message } ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
NODES = """{ assetNodes { assetKey { path } isMaterializable opVersion dependencyKeys { path }
  repository { name location { name } } partitionStats { numMaterialized numPartitions }
  assetMaterializations(limit: 1) { timestamp tags { key value } } } }"""
KEYS = """query Keys($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode { partitionKeys } } }"""
LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
EVENTS = """query Events($run: ID!, $cursor: String) { runOrError(runId: $run) { __typename ... on Run { status } }
  logsForRun(runId: $run, afterCursor: $cursor) { ... on EventConnection { cursor hasMore events { __typename
    ... on MessageEvent { message timestamp }
    ... on ExecutionStepFailureEvent { stepKey error { ...told causes { ...told } }
      failureMetadata { description metadataEntries { label ... on TextMetadataEntry { text } } } }
    ... on RunFailureEvent { error { ...told } } } } } }
fragment told on PythonError { className message }"""

Key = tuple[str, ...]


class Failed(Exception):
    """Something the reader must look at; the text says what and where."""


@dataclass(frozen=True)
class Asset:
    """An asset as Dagster knows it now."""

    key: Key
    location: str
    repository: str
    version: str | None
    upstream: tuple[Key, ...]
    partitions: int | None
    materialised: int
    made_at: float | None
    made_version: str | None

    @property
    def name(self) -> str:
        return "/".join(self.key)


@dataclass
class Run:
    """One launched run."""

    assets: tuple[str, ...]
    run_id: str
    seconds: float = 0.0
    status: str = "STARTING"
    materialised: int = 0
    problems: list[str] = field(default_factory=list)


class Dagster:
    """GraphQL over HTTP."""

    def __init__(self, endpoint: str) -> None:
        self.url = endpoint.rstrip("/").removesuffix("/graphql") + "/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as err:
            raise Failed(f"Dagster at {self.url} answered {err.code}: {err.read().decode(errors='replace')[:500]}") from err
        except (OSError, ValueError) as err:
            raise Failed(f"Dagster at {self.url} does not answer: {err}\n  fix: start the stack with `tiffin up`") from err
        if found.get("errors"):
            raise Failed(f"Dagster at {self.url} refused the question: {found['errors'][0].get('message')}")
        return dict(found["data"])

    def wait_loaded(self, timeout_s: float) -> None:
        """Wait until every code location is loaded; a location that cannot load is named with its error."""
        deadline = time.monotonic() + timeout_s
        while True:
            workspace = self.ask(WORKSPACE)["workspaceOrError"]
            if workspace["__typename"] != "Workspace":
                raise Failed(f"the workspace cannot be read: {workspace.get('message')}")
            entries = workspace["locationEntries"]
            loading = [entry["name"] for entry in entries if entry["loadStatus"] != "LOADED"]
            for entry in entries:
                told = entry["locationOrLoadError"]
                if not loading and told and told["__typename"] == "PythonError":
                    raise Failed(f"code location {entry['name']!r} does not load:\n{told['message']}")
            if entries and not loading:
                return
            if time.monotonic() > deadline:
                raise Failed(f"code locations still loading after {timeout_s:g} s: {', '.join(loading) or 'none is known'}")
            time.sleep(POLL_S)

    def assets(self) -> dict[Key, Asset]:
        """Every asset that can be materialised."""
        return {asset.key: asset for node in self.ask(NODES)["assetNodes"] if node["isMaterializable"] for asset in [read_asset(node)]}

    def partition_keys(self, key: Key) -> list[str]:
        return list(self.ask(KEYS, key={"path": list(key)})["assetNodeOrError"]["partitionKeys"])

    def launch(self, assets: Sequence[Asset], partitions: Sequence[str] | None) -> str:
        tags = [] if partitions is None else [{"key": RANGE_START, "value": partitions[0]}, {"key": RANGE_END, "value": partitions[-1]}]
        params = {
            "selector": {
                "repositoryLocationName": assets[0].location,
                "repositoryName": assets[0].repository,
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": list(asset.key)} for asset in assets],
            },
            "mode": "default",
            "executionMetadata": {"tags": tags},
        }
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            told = answer.get("message") or answer.get("errors")
            raise Failed(f"Dagster did not launch {', '.join(a.name for a in assets)}: {answer['__typename']}: {told}")
        return str(answer["run"]["runId"])


def read_asset(node: Mapping[str, Any]) -> Asset:
    """One GraphQL node."""
    stats = node["partitionStats"]
    last = node["assetMaterializations"][0] if node["assetMaterializations"] else None
    tags = {tag["key"]: tag["value"] for tag in last["tags"]} if last else {}
    return Asset(
        key=tuple(node["assetKey"]["path"]),
        location=node["repository"]["location"]["name"],
        repository=node["repository"]["name"],
        version=node["opVersion"],
        upstream=tuple(tuple(key["path"]) for key in node["dependencyKeys"]),
        partitions=stats["numPartitions"] if stats else None,
        materialised=stats["numMaterialized"] if stats else int(last is not None),
        made_at=float(last["timestamp"]) if last else None,
        made_version=tags.get(CODE_VERSION),
    )


def wanted_of(asset: Asset, latest: int | None) -> int:
    """How many partitions make it complete; 1 for an asset without partitions."""
    whole = 1 if asset.partitions is None else asset.partitions
    return whole if latest is None else min(whole, latest)


def reasons(assets: Mapping[Key, Asset], *, latest: int | None = None) -> dict[Key, str]:
    """Why an asset must be materialised; fresh assets are not in the answer.

    An asset downstream of one that will run must run too.
    """
    found: dict[Key, str] = {}
    for key in in_order(assets):
        asset = assets[key]
        wanted = wanted_of(asset, latest)
        upstream = [assets[up] for up in asset.upstream if up in assets]
        running = next((up.name for up in upstream if up.key in found), None)
        newer = next((up.name for up in upstream if up.made_at and asset.made_at and up.made_at > asset.made_at), None)
        if asset.made_at is None or asset.materialised < wanted:
            found[key] = "not materialised" if asset.partitions is None else f"{wanted - asset.materialised} of {wanted} partitions missing"
        elif asset.version is not None and asset.made_version != asset.version:
            found[key] = f"code version {asset.made_version} is now {asset.version}"
        elif running or newer:
            found[key] = f"{running or newer} is newer"
    return found


def in_order(assets: Mapping[Key, Asset]) -> list[Key]:
    """Upstream before downstream, else by name."""
    done: list[Key] = []

    def visit(key: Key) -> None:
        if key in assets and key not in done:
            for up in sorted(assets[key].upstream):
                visit(up)
            done.append(key)

    for key in sorted(assets):
        visit(key)
    return done


def stages(assets: Mapping[Key, Asset]) -> list[list[Asset]]:
    """Groups that can be one run each, in order: one code location, equal partitioning, as late as possible."""
    order = in_order(assets)
    downstream: dict[Key, list[Key]] = {key: [other for other in order if key in assets[other].upstream] for key in order}
    level: dict[Key, int] = {}
    for key in reversed(order):
        level[key] = min((level[down] - (not together(assets[key], assets[down])) for down in downstream[key]), default=0)
    groups: dict[tuple[int, str, int], list[Asset]] = {}
    for key in order:
        asset = assets[key]
        groups.setdefault((level[key], asset.location, asset.partitions or 0), []).append(asset)
    return [groups[place] for place in sorted(groups)]


def together(one: Asset, other: Asset) -> bool:
    """Whether both fit into one run."""
    return one.location == other.location and one.partitions == other.partitions


def read_events(run: Run, events: Iterable[Mapping[str, Any]]) -> None:
    """Count what was materialised and keep what went wrong."""
    for event in events:
        kind = event["__typename"]
        if kind == "MaterializationEvent":
            run.materialised += 1
        elif kind == "ExecutionStepFailureEvent":
            error, told = event.get("error") or {}, event.get("failureMetadata") or {}
            lines = [f"step {event['stepKey']} failed: {(told.get('description') or error.get('message') or event['message']).strip()}"]
            lines += [f"  {entry['label']}: {entry['text']}" for entry in told.get("metadataEntries") or [] if entry.get("text")]
            if not told:
                lines += [f"  caused by {cause['className']}: {cause['message'].strip()}" for cause in error.get("causes") or []]
            run.problems.append("\n".join(lines))
        elif kind == "RunFailureEvent" and not run.problems:
            run.problems.append((event.get("error") or {}).get("message") or event["message"])


def wait(dagster: Dagster, run: Run, progress: Progress, task: Any, timeout_s: float) -> None:
    """Follow a run to its end."""
    started, cursor = time.monotonic(), None
    while True:
        answer = dagster.ask(EVENTS, run=run.run_id, cursor=cursor)
        page = answer["logsForRun"]
        read_events(run, page.get("events", ()))
        cursor, run.status = page.get("cursor", cursor), answer["runOrError"].get("status", "MISSING")
        progress.update(task, completed=run.materialised)
        run.seconds = round(time.monotonic() - started, 2)
        if run.status in ENDED and not page.get("hasMore"):
            return
        if run.seconds > timeout_s:
            raise Failed(f"run {run.run_id} ({', '.join(run.assets)}) is still {run.status} after {timeout_s:g} s")
        time.sleep(POLL_S)


def drive(dagster: Dagster, progress: Progress, *, timeout_s: float, latest: int | None = None) -> tuple[list[Run], dict[Key, Asset]]:
    """Launch stage by stage what is out of date; returns the runs and the assets as they are then.

    Raises Failed with the failing step's own words.
    """
    dagster.wait_loaded(timeout_s)
    assets = dagster.assets()
    why, runs = reasons(assets, latest=latest), []
    for stage in stages(assets):
        due = [asset for asset in stage if asset.key in why]
        if not due:
            continue
        partitions = None if due[0].partitions is None else dagster.partition_keys(due[0].key)[-wanted_of(due[0], latest) :]
        names = tuple(asset.name for asset in due)
        task = progress.add_task(", ".join(names), total=len(due) * (len(partitions) if partitions else 1))
        for asset in due:
            progress.console.print(f"[dim]{asset.name}: {why[asset.key]}[/dim]", highlight=False, soft_wrap=True)
        run = Run(names, dagster.launch(due, partitions))
        runs.append(run)
        wait(dagster, run, progress, task, timeout_s)
        if run.status != "SUCCESS":
            told = "\n".join(run.problems) or "no step said why; look at the run in Dagster"
            raise Failed(f"run {run.run_id} ({', '.join(names)}) ended as {run.status}\n{told}")
    return runs, dagster.assets() if runs else assets


def endpoint_of(home: Path) -> str:
    """Where the webserver of a local stack answers, from its state file."""
    try:
        port = json.loads((home / "state.json").read_text())["parts"]["webserver"]["ports"]["http"]
    except (OSError, ValueError, KeyError) as err:
        raise SystemExit(f"no Dagster webserver is recorded in {str(home)!r}\n  fix: start the stack with `tiffin up`") from err
    return f"http://127.0.0.1:{port}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path(".tiffin"), help="folder of the running stack")
    parser.add_argument("--endpoint", help="URL of another Dagster webserver")
    parser.add_argument("--latest", type=int, metavar="N", help="of an asset with more than N partitions, drive the latest N")
    parser.add_argument("--timeout-s", type=float, default=1800.0, help="longest wait for one run")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, progress on standard error")
    arguments = parser.parse_args()
    console = Console(stderr=arguments.json)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started, dagster = time.monotonic(), Dagster(arguments.endpoint or endpoint_of(arguments.home))
    result: dict[str, Any]
    try:
        with Progress(*columns, console=console) as progress:
            runs, assets = drive(dagster, progress, timeout_s=arguments.timeout_s, latest=arguments.latest)
    except Failed as err:
        Console(stderr=True).print(str(err), style="red", highlight=False, markup=False, soft_wrap=True)
        result, code = {"ok": False, "error": str(err)}, 1
    else:
        code = 0
        result = {
            "ok": True,
            "runs": [{"run_id": run.run_id, "assets": run.assets, "seconds": run.seconds} for run in runs],
            "assets": sum(asset.made_at is not None for asset in assets.values()),
            "partitions": sum(asset.materialised for asset in assets.values() if asset.partitions is not None),
        }
        console.print(f"{len(runs)} runs launched" if runs else "everything is up to date", highlight=False)
    if arguments.json:
        print(json.dumps({**result, "seconds": round(time.monotonic() - started, 2)}))
    return code


if __name__ == "__main__":
    sys.exit(main())
