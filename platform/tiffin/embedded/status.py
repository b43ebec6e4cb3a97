"""What runs, how it feels, and what it serves: read from processes, the agent and the prod bucket."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tiffin.core.errors import Denied, PlatformError
from tiffin.core.units import from_us
from tiffin.embedded.operate import agent_answer, prod_reader
from tiffin.embedded.parts import PARTS, Place
from tiffin.embedded.probes import live_manifest, why_not_live
from tiffin.embedded.processes import alive
from tiffin.embedded.stack import Stack, load
from tiffin.manifests.records import ViewRecord
from tiffin.manifests.signing import Verifier
from tiffin.orchestration.catalog import read_catalog
from tiffin.registry.verified import fetch_current
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore

__all__ = ["Report", "report"]


@dataclass(frozen=True, slots=True)
class PartReport:
    """A part: where it is, how long it has run, and what is wrong with it (None: it works)."""

    name: str
    pid: int | None
    ports: dict[str, int]
    uptime_s: float | None
    trouble: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """`tiffin status` as a value.

    Args:
        teams: owner, and how many of its views are published and of its endpoints ready.
        views: each with `age_s`: how far its watermark lies behind the stack's now.
    """

    home: str
    as_of: str | None
    isolation: str
    healthy: bool
    parts: tuple[PartReport, ...]
    teams: tuple[dict[str, Any], ...]
    deployments: tuple[dict[str, Any], ...]
    views: tuple[dict[str, Any], ...]
    urls: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def report(home: Path, *, now: datetime) -> Report:
    """Ask every part by use, side by side, and read what is promoted.

    Raises:
        NotFound: there is no stack. Denied, Invalid: its state file is not usable.
    """
    stack = load(home)
    settings = stack.settings()
    place = Place(stack.home, settings, stack.state.ports, Path(stack.state.workspace or "."), lambda text: None)
    with ThreadPoolExecutor(max_workers=len(PARTS)) as pool:
        parts = tuple(pool.map(lambda name: examine(stack, place, name, now), PARTS))
    deployments: tuple[dict[str, Any], ...] = ()
    views: tuple[dict[str, Any], ...] = ()
    running = stack.running()
    if "seaweed" in running:
        prod, verifier = prod_reader(settings), Verifier(settings.need("signing_public_key"))
        answer = agent_answer(running["agent"].ports["http"]) if "agent" in running else {}
        deployments = tuple(each("deployment", prod, lambda team, name: deployment(prod, verifier, answer, team, name)))
        instant = settings.clock()
        views = tuple(aged(one, instant) for one in each("generation", prod, lambda team, name: view(prod, verifier, team, name)))
    healthy = all(part.trouble is None for part in parts)
    teams = tuple(teams_of(declared_views(stack), deployments, views))
    return Report(str(stack.home), stack.state.as_of, stack.state.isolation, healthy, parts, teams, deployments, views, stack.urls())


def declared_views(stack: Stack) -> list[ViewRecord]:
    """The compiled catalog beside the workspace; none when the workspace has none."""
    path = Path(stack.state.workspace or ".").parent / "assets" / "catalog.json"
    return list(read_catalog(path).values()) if path.is_file() else []


def teams_of(
    declared: Iterable[ViewRecord], deployments: Iterable[dict[str, Any]], views: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One entry per team, by name: its owner, its views and its endpoints, counted."""
    owners: dict[str, str] = {}
    counts: dict[str, Counter[str]] = {}
    for record in declared:
        owners[record.team] = record.owner
        counts.setdefault(record.team, Counter())["views"] += 1
    for one in views:
        counts.setdefault(one["team"], Counter())["published"] += "trouble" not in one
    for one in deployments:
        owners.setdefault(one["team"], one.get("owner", ""))
        found = counts.setdefault(one["team"], Counter())
        found["endpoints"] += 1
        found["ready"] += bool(one.get("ready"))
    for team in sorted(counts):
        yield {
            "team": team,
            "owner": owners.get(team, ""),
            **{name: counts[team][name] for name in ("views", "published", "endpoints", "ready")},
        }


def aged(one: dict[str, Any], now: datetime) -> dict[str, Any]:
    """With how far its watermark lies behind `now`; a damaged one has none."""
    if "trouble" in one:
        return one
    return {**one, "age_s": (now - datetime.fromisoformat(one["watermark"])).total_seconds()}


def examine(stack: Stack, place: Place, name: str, now: datetime) -> PartReport:
    """One part, asked by use."""
    recorded = stack.state.parts.get(name)
    if recorded is None:
        return PartReport(name, None, {}, None, "it is not started")
    if not alive(recorded.process):
        return PartReport(name, None, recorded.ports, None, f"it has died; read {place.log(name)}, then `tiffin up`")
    uptime = (now - datetime.fromisoformat(recorded.started_at)).total_seconds()
    try:
        trouble = PARTS[name].trouble(place, recorded)
    except PlatformError as err:
        trouble = err.message
    return PartReport(name, recorded.pid, recorded.ports, round(uptime, 1), trouble)


def each(kind: RecordKind, prod: ObjectStore, describe: Callable[[str, str], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Describe everything of a kind that is promoted; a damaged one says so and hides no other."""
    prefix = f"pointers/{kind}/"
    try:
        keys = list(prod.list(prefix))
    except PlatformError:
        return
    for key in keys:
        team, _, file = key.removeprefix(prefix).partition("/")
        name = file.removesuffix(".json")
        try:
            yield {"team": team, "name": name, **describe(team, name)}
        except PlatformError as err:
            yield {"team": team, "name": name, "trouble": err.message}


def deployment(prod: ObjectStore, verifier: Verifier, answer: dict[str, Any], team: str, name: str) -> dict[str, Any]:
    """From an endpoint to its owner, model, code and run, in one step."""
    manifest, record = fetch_current(prod, verifier, "deployment", team, name)
    why = refusal(answer, f"{team}/{name}", manifest)
    return {
        "manifest": manifest,
        "live": live_manifest(answer, f"{team}/{name}"),
        "ready": why is None,
        "reason": why,
        "model": record.model,
        "model_name": record.model_name,
        "owner": record.owner,
        "git_commit": record.code.git_commit,
        "run_id": record.run_id,
        "views": [f"{one.team}/{one.name}" for one in record.views],
    }


def refusal(answer: dict[str, Any], ref: str, manifest: str) -> str | None:
    """Why it is not live, a refusal included."""
    try:
        return why_not_live(answer, ref, manifest)
    except Denied as err:
        return err.message


def view(prod: ObjectStore, verifier: Verifier, team: str, name: str) -> dict[str, Any]:
    """The promoted edition of a view and up to when it is complete."""
    manifest, record = fetch_current(prod, verifier, "generation", team, name)
    return {
        "generation": manifest,
        "watermark": from_us(record.watermark_us).isoformat(),
        "as_of": None if record.as_of_us is None else from_us(record.as_of_us).isoformat(),
        "rows": record.base.rows,
        "deltas": len(record.deltas),
    }
