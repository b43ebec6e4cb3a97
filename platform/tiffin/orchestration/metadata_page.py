"""An asset's card and cost, made the same way for every kind of asset."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from tiffin.compute.team import Team
from tiffin.orchestration.metadata_card import card, downstream_of
from tiffin.orchestration.metadata_cost import Stopwatch, spent_before

__all__ = ["Edges", "Page", "in_bytes", "landed_by"]

Edges = Mapping[str, Sequence[str]]
"""By asset (`"team/name"`) what directly stands on it, of all teams; see `metadata_card.standing_on`."""
RUNS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Page:
    """What is known of an asset before its step runs."""

    key: dg.AssetKey
    what: str
    owner: str
    edges: Edges
    price_usd_per_h: float | None

    @classmethod
    def of(cls, team: Team, path: Sequence[str], what: str, edges: Edges | None) -> Page:
        """The page of one of a team's assets."""
        return cls(dg.AssetKey(list(path)), what, team.owner, edges or {}, team.price_usd_per_h)

    @property
    def breaks(self) -> tuple[str, ...]:
        """Everything that stands on the asset, nearest first; looked up when a step wants to show it."""
        return downstream_of("/".join(self.key.path), self.edges)

    def watch(self, instance: dg.DagsterInstance, *, now_s: Callable[[], float] = time.monotonic) -> Stopwatch:
        """Begin to count the step's seconds, on top of all earlier steps' ones."""
        return Stopwatch(spent_before(instance, self.key), now_s=now_s, price_usd_per_h=self.price_usd_per_h)

    def card(self, cost: Mapping[str, object], *, fresh: str, content: str, where: Mapping[str, str]) -> dict[str, Any]:
        """The metadata entry `card`."""
        text = card(self.what, owner=self.owner, fresh=fresh, content=content, cost=cost, breaks=self.breaks, where=where)
        return {"card": dg.MetadataValue.md(text)}


def in_bytes(size: float) -> str:
    """A size as people say it.

    Example:
        >>> in_bytes(512), in_bytes(2_500_000)
        ('512 B', '2.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def landed_by(tags: Mapping[str, str], *, tag: str) -> dict[str, Any]:
    """Links to the other teams' runs whose landings started this one; nothing for a run that a person started."""
    runs = [run for run in tags.get(tag, "").split(",") if run]
    if not runs:
        return {}
    links = ", ".join(f"[{run[:8]}](/runs/{run})" for run in runs[-RUNS_SHOWN:])
    more = f" and {len(runs) - RUNS_SHOWN} before" if len(runs) > RUNS_SHOWN else ""
    return {"upstream_runs": dg.MetadataValue.md(f"{links}{more}")}
