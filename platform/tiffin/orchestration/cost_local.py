"""Steps that ran on one machine as usage records: what they would have held, had a cluster admitted them.

Each counts with the requests of a step that asks for nothing in particular, for as long as it ran. No Kueue saw them,
so they are called `local` and priced like the first flavor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from tiffin.compute.prices import LOCAL
from tiffin.compute.spec import Compute
from tiffin.compute.usage import days
from tiffin.core.units import to_us
from tiffin.manifests.usage import AmountRecord, UsageRecord
from tiffin.orchestration.backfill_client import Dagster
from tiffin.orchestration.backfill_ranges import RANGE_END, RANGE_START

__all__ = ["local_usage", "usage_of_run"]

PAGE = 200
KINDS = "{ assetNodes { assetKey { path } kinds } }"
RUNS = """query Runs($filter: RunsFilter!, $cursor: String, $limit: Int!) {
  runsOrError(filter: $filter, cursor: $cursor, limit: $limit) { __typename ... on Runs { results {
    runId tags { key value } repositoryOrigin { repositoryLocationName }
    stepStats { stepKey startTime endTime materializations { assetKey { path } partition } } } } } }"""


def local_usage(dagster: Dagster, start: datetime, end: datetime) -> list[UsageRecord]:
    """Every step that began in `[start, end)` and has ended, by Dagster's own clock."""
    kinds = {"/".join(one["assetKey"]["path"]): one["kinds"] for one in dagster.ask(KINDS)["assetNodes"]}
    models = frozenset(asset for asset, words in kinds.items() if is_model(words))
    found: list[UsageRecord] = []
    cursor: str | None = None
    bounds = {"createdAfter": start.timestamp(), "createdBefore": end.timestamp()}
    while True:
        told = dagster.ask(RUNS, filter=bounds, cursor=cursor, limit=PAGE)["runsOrError"]
        runs = told.get("results", [])
        for run in runs:
            found += usage_of_run(run, models)
        if len(runs) < PAGE:
            return [one for one in found if to_us(start) <= one.start_us < to_us(end)]
        cursor = runs[-1]["runId"]


def is_model(kinds: Sequence[str]) -> bool:
    """What a trainer made, or an endpoint: no table, no online edition.

    Example:
        >>> is_model(["lightgbm", "python"]), is_model(["triton", "lightgbm"]), is_model(["python", "duckdb", "deltalake"])
        (True, True, False)
    """
    return "triton" in kinds or ("python" in kinds and "deltalake" not in kinds)


def usage_of_run(run: Mapping[str, Any], models: frozenset[str] = frozenset()) -> Iterator[UsageRecord]:
    """One run as GraphQL tells it; a step that made nothing is its team's all the same."""
    team = (run.get("repositoryOrigin") or {}).get("repositoryLocationName") or "unknown"
    tags = {one["key"]: one["value"] for one in run.get("tags", [])}
    amounts = tuple(AmountRecord(flavor=LOCAL, resource=name, milli=size) for name, size in sorted(Compute().requests().items()))
    for step in run.get("stepStats", []):
        if step.get("startTime") is None or step.get("endTime") is None:
            continue
        made = step.get("materializations", [])
        assets = tuple(sorted({"/".join(one["assetKey"]["path"]) for one in made if one.get("assetKey")}))
        shared = {
            "kind": "step",
            "team": team,
            "name": step["stepKey"],
            "step": step["stepKey"],
            "run_id": run["runId"],
            "assets": assets,
            "partitions": partitions_of(made, tags),
            "models": tuple(asset for asset in assets if asset in models),
            "amounts": amounts,
            "ended": "finished",
            "source": f"local:{run['runId']}:{step['stepKey']}",
        }
        pieces = days(round(step["startTime"] * 1e6), round(step["endTime"] * 1e6))
        for number, (start, end) in enumerate(pieces):
            yield UsageRecord.model_validate({**shared, "number": number, "start_us": start, "end_us": end})


def partitions_of(made: Sequence[Mapping[str, Any]], tags: Mapping[str, str]) -> tuple[str, ...]:
    """A ranged run's range as one word; else what was materialised."""
    first, last = tags.get(RANGE_START), tags.get(RANGE_END)
    if first and last:
        return (first,) if first == last else (f"{first}...{last}",)
    return tuple(sorted({one["partition"] for one in made if one.get("partition")}))
