"""Dagster over GraphQL, as far as a backfill needs it. Loads no Dagster: a command line must start at once."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiffin.core.errors import Invalid, NotFound, NotReady, nearest
from tiffin.orchestration.backfill_progress import Progress
from tiffin.orchestration.backfill_ranges import GAVE_UP, RANGE_END, RANGE_START, RETRIED_WITHIN_S, RETRY, in_ranges

__all__ = ["ACTIVE", "Dagster", "PartitionedAsset", "RunTold"]

REQUEST_TIMEOUT_S = 60.0
LOADING_S, LOADING_EVERY_S = 90.0, 1.0
PAGE = 1000
ACTIVE = {"NOT_STARTED", "QUEUED", "STARTING", "STARTED", "CANCELING"}
CODE_VERSION = "dagster/code_version"
NEEDED_DAEMONS = {"QUEUED_RUN_COORDINATOR", "SENSOR"}

ASSET = """query Asset($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { __typename ... on AssetNode {
  opVersion isPartitioned partitionKeys repository { name location { name } }
  assetPartitionStatuses { __typename ... on TimePartitionStatuses { ranges { status startKey endKey } }
    ... on DefaultPartitionStatuses { materializedPartitions } } } } }"""
NAMES = "{ assetNodes { assetKey { path } isPartitioned } }"
MADE = """query Made($key: AssetKeyInput!, $limit: Int!, $before: String) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: $limit, beforeTimestampMillis: $before) { timestamp partition tags { key value } } } } }"""
RUNS = """query Runs($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 500) { __typename ... on Runs { results {
  runId status assetSelection { path } tags { key value } stats { ... on RunStatsSnapshot { materializations } } } } } }"""
LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
EVENTS = """query Events($run: ID!, $cursor: String) { logsForRun(runId: $run, afterCursor: $cursor) { ... on EventConnection {
  cursor hasMore events { __typename ... on MessageEvent { message } ... on ExecutionStepFailureEvent {
    error { className message } failureMetadata { description metadataEntries { label ... on TextMetadataEntry { text } } } }
    ... on RunFailureEvent { error { message } } } } } }"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"


@dataclass(frozen=True, slots=True)
class PartitionedAsset:
    """An asset's partitions as Dagster knows them now.

    Args:
        keys: all partitions, in order.
        made: those that are materialised; a failed or missing one is not among them.
        version: its code version now.
    """

    name: str
    location: str
    repository: str
    version: str | None
    keys: tuple[str, ...]
    made: frozenset[str]

    @property
    def path(self) -> list[str]:
        """The parts of its key."""
        return self.name.split("/")


@dataclass(frozen=True, slots=True)
class RunTold:
    """A run over a range of partitions.

    Args:
        made: materialisation events so far.
        settled: what the retry sensor did about its failure; None while nobody has looked at it.
    """

    run_id: str
    status: str
    tags: Mapping[str, str] = field(default_factory=dict)
    assets: tuple[str, ...] = ()
    made: int = 0

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ACTIVE

    @property
    def settled(self) -> bool:
        """Whether nothing more will follow from it."""
        return not self.active and (self.status != "FAILURE" or RETRY in self.tags)

    def partitions(self, order: Sequence[str]) -> list[str]:
        """What it was for."""
        ends = self.tags.get(RANGE_START), self.tags.get(RANGE_END)
        return in_ranges([(ends[0], ends[1])], order) if ends[0] and ends[1] else []

    @property
    def gave_up(self) -> str:
        """The partitions that nobody will try again, in words."""
        return self.tags.get(GAVE_UP, "")


class Dagster:
    """A running webserver.

    Args:
        endpoint: its URL, with or without `/graphql`.
        loading_s: how long to wait for its code locations where none is loaded.
    """

    def __init__(self, endpoint: str, *, loading_s: float = LOADING_S) -> None:
        self.loading_s = loading_s
        self.url = endpoint.rstrip("/").removesuffix("/graphql") + "/graphql"

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """One question.

        Raises:
            NotReady: nobody answers. Invalid: the question was refused.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310  # the stack's own address
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:  # noqa: S310  # as above
                found = json.load(answer)
        except urllib.error.HTTPError as err:
            told = err.read().decode(errors="replace")[:300]
            raise Invalid(f"Dagster at {self.url} answered {err.code}: {told}", fix="is this the webserver of a tiffin stack?") from err
        except (OSError, ValueError) as err:
            raise NotReady(f"Dagster at {self.url} does not answer: {err}", fix="start the stack with `tiffin up`") from err
        if found.get("errors"):
            raise Invalid(f"Dagster at {self.url} refused the question: {found['errors'][0].get('message')}", fix="see its log")
        return dict(found["data"])

    def asset(self, name: str) -> PartitionedAsset:
        """An asset by name.

        A webserver that knows no asset at all is loading its code locations: it is waited for.

        Raises:
            NotFound: with the nearest name. Invalid: it has no partitions. NotReady: no code location is loaded.
        """
        ends_s = time.monotonic() + self.loading_s
        while (node := self.ask(ASSET, key={"path": name.split("/")})["assetNodeOrError"])["__typename"] != "AssetNode":
            nodes = self.ask(NAMES)["assetNodes"]
            if nodes:
                known = ["/".join(one["assetKey"]["path"]) for one in nodes if one["isPartitioned"]]
                raise NotFound(f"there is no asset {name!r}", fix=nearest(name, known))
            if time.monotonic() > ends_s:
                raise NotReady(
                    f"Dagster at {self.url} has no code location that is loaded",
                    fix="see why with `tiffin doctor`, mend it, then `tiffin reload`",
                )
            time.sleep(LOADING_EVERY_S)
        if not node["isPartitioned"]:
            raise Invalid(f"asset {name!r} has no partitions to fill", fix="materialise it in Dagster's UI, or name a partitioned view")
        keys = tuple(node["partitionKeys"])
        statuses = node["assetPartitionStatuses"]
        ranges = [(one["startKey"], one["endKey"]) for one in statuses.get("ranges", ()) if one["status"] == "MATERIALIZED"]
        made = statuses.get("materializedPartitions") or in_ranges(ranges, keys)
        where = node["repository"]
        return PartitionedAsset(name, where["location"]["name"], where["name"], node["opVersion"], keys, frozenset(made))

    def versions(self, asset: PartitionedAsset) -> dict[str, str | None]:
        """Code version of each materialised partition: the newest event of each, read in pages from the newest back."""
        found: dict[str, str | None] = {}
        before: str | None = None
        while len(asset.made - found.keys()):
            node = self.ask(MADE, key={"path": asset.path}, limit=PAGE, before=before)["assetNodeOrError"]
            page = node["assetMaterializations"]
            for one in page:
                if one["partition"] is not None:
                    found.setdefault(one["partition"], {tag["key"]: tag["value"] for tag in one["tags"]}.get(CODE_VERSION))
            if len(page) < PAGE:
                break
            before = page[-1]["timestamp"]
        return found

    def unfinished_runs(self, asset: PartitionedAsset) -> list[RunTold]:
        """Runs over ranges of this asset that have not ended, and failed ones whose retries are still to come.

        The active ones are asked for before and after: a run that fails while the failed ones are read, and a retry that
        starts then, are in one of the three answers.
        """
        before = self.runs(statuses=sorted(ACTIVE))
        failed = self.runs(statuses=["FAILURE"], updatedAfter=time.time() - RETRIED_WITHIN_S)
        after = self.runs(statuses=sorted(ACTIVE))
        found = {run.run_id: run for run in (*before, *(run for run in failed if not run.settled), *after)}
        return [run for run in found.values() if asset.name in run.assets and run.partitions(asset.keys)]

    def runs(self, **filters: Any) -> list[RunTold]:
        """Runs by `runIds`, `statuses` or `tags`, newest first."""
        found = self.ask(RUNS, filter=filters)["runsOrError"]
        return [read_run(one) for one in found.get("results", ())]

    def tagged(self, name: str, value: str) -> list[RunTold]:
        """Runs that carry a tag."""
        return self.runs(tags=[{"key": name, "value": value}])

    def launch(self, asset: PartitionedAsset, partitions: Sequence[str], tags: Mapping[str, str]) -> str:
        """One run over neighbouring partitions: what the UI launches for a range. Returns its id."""
        listed = {**tags, RANGE_START: partitions[0], RANGE_END: partitions[-1]}
        params = {
            "selector": {
                "repositoryLocationName": asset.location,
                "repositoryName": asset.repository,
                "pipelineName": "__ASSET_JOB",
                "assetSelection": [{"path": asset.path}],
            },
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in listed.items()]},
        }
        answer = self.ask(LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            told = answer.get("message") or answer.get("errors")
            raise Invalid(
                f"Dagster did not launch {asset.name}: {answer['__typename']}: {told}", fix="look at the code location in Dagster's UI"
            )
        return str(answer["run"]["runId"])

    def events(self, run_id: str, cursor: str | None = None) -> Iterator[tuple[str | None, list[dict[str, Any]]]]:
        """Pages of a run's log after a cursor, each with the cursor behind it."""
        while True:
            page = self.ask(EVENTS, run=run_id, cursor=cursor)["logsForRun"]
            cursor = page.get("cursor", cursor)
            yield cursor, page.get("events", [])
            if not page.get("hasMore"):
                return

    def progress(self, run_id: str, cursor: str | None) -> tuple[Progress | None, str | None]:
        """The newest line about its progress after a cursor, and the cursor behind it."""
        newest = None
        for reached, events in self.events(run_id, cursor):
            cursor = reached
            newest = next(filter(None, (Progress.read(event.get("message", "")) for event in reversed(events))), newest)
        return newest, cursor

    def why_failed(self, run_id: str) -> tuple[str, str | None]:
        """A failed run's error in its own words, and its fix."""
        message, fix = "", None
        for _, events in self.events(run_id):
            for event in events:
                if event["__typename"] == "ExecutionStepFailureEvent":
                    told, error = event.get("failureMetadata") or {}, event.get("error") or {}
                    entries = {entry["label"]: entry.get("text") for entry in told.get("metadataEntries") or []}
                    return (told.get("description") or error.get("message") or event["message"]).strip(), entries.get("fix")
                if event["__typename"] == "RunFailureEvent":
                    message = ((event.get("error") or {}).get("message") or event["message"]).strip()
        return message or "no step said why; look at the run in Dagster", fix

    def silent_daemons(self) -> list[str]:
        """Daemons without which a run is never started or never retried."""
        told = self.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [one["daemonType"] for one in told if one["daemonType"] in NEEDED_DAEMONS and one["required"] and not one["healthy"]]


def read_run(told: Mapping[str, Any]) -> RunTold:
    """One GraphQL run."""
    tags = {tag["key"]: tag["value"] for tag in told["tags"]}
    assets = tuple("/".join(key["path"]) for key in told["assetSelection"] or ())
    return RunTold(told["runId"], told["status"], tags, assets, int((told.get("stats") or {}).get("materializations") or 0))
