"""Builders of teams' and platform's files; each test states only what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from tiffin.compute.declared_file import read_declared
from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.team_file import RESERVED, TeamFile

ROOT = Path(__file__).resolve().parents[1]
TAINT = {"key": "nvidia.com/gpu", "value": "present"}
PLATFORM: dict[str, Any] = {
    "name": "house",
    "namespace": "dagster",
    "cohort": "house",
    "flavors": {
        "cpu": {"capacity": {"cpu": 100, "memory": "400Gi"}},
        "a100": {"capacity": {"cpu": 48, "memory": "512Gi", "nvidia.com/gpu": 8}, "taints": [TAINT], "node_labels": {"gpu": "a100"}},
    },
    "priorities": {"run-worker": {"value": 1000}, "prod": {"value": 100}, "default": {"value": 50}, "backfill": {"value": 10}},
    "run_workers": {"flavor": "cpu", "quota": {"cpu": 10, "memory": "40Gi"}},
    "network": {
        "destinations": [{"name": "object-store", "cidr": "10.20.0.0/24", "ports": [443]}],
        "api_server": {"name": "api-server", "cidr": "10.0.0.1/32", "ports": [443]},
    },
    "defaults": {
        "quotas": {"cpu": {"cpu": 10, "memory": "40Gi"}},
        "budget_usd_per_month": 1000,
        "objects": {"pods": 100, "jobs.batch": 500},
        "container_request": {"cpu": "250m", "memory": "512Mi"},
        "container_max": {"cpu": 32, "memory": "256Gi"},
        "groups": {"viewer": ["{team}-viewers"], "developer": ["{team}-developers"], "on_call": ["on-call"]},
    },
    "limits": {"quotas": {"cpu": {"cpu": 40}}, "weight": 4, "budget_usd_per_month": 5000, "objects": {"pods": 300}},
}


def make_platform(**changes: Any) -> PlatformFile:
    """A platform of two flavors; `changes` replace whole keys."""
    return read_declared(PlatformFile, yaml.safe_dump({**PLATFORM, **changes}), name="platform.yaml")


def make_team(team: str = "network", **changes: Any) -> TeamFile:
    """A team that asks for nothing of its own."""
    given = {"team": team, "owner": f"team:{team}", "image": f"tiffin/{team}:1", **changes}
    return read_declared(TeamFile, yaml.safe_dump(given), name=f"assets/{team}/team.yaml")


def of_kind(items: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [item for item in items if item["kind"] == kind]


def named(items: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of that kind and name."""
    (found,) = [item for item in of_kind(items, kind) if item["metadata"]["name"] == name]
    return found


# -- any teams that the platform above grants ---------------------------------------------------------------------------
TEAM_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(_[a-z0-9]{1,8}){0,2}", fullmatch=True).filter(lambda name: name not in RESERVED)


def amounts(most: int) -> st.SearchStrategy[Mapping[str, Any]]:
    """A quota of up to `most` whole units, with or without bounds."""

    def bounded(nominal: int) -> st.SearchStrategy[Mapping[str, Any]]:
        borrow = st.one_of(st.just("all"), st.integers(0, 50))
        lend = st.one_of(st.just("all"), st.integers(0, nominal))
        return st.builds(lambda borrow, lend: {"nominal": nominal, "borrow": borrow, "lend": lend}, borrow, lend)

    return st.integers(0, most).flatmap(bounded)


@st.composite
def some_teams(draw: st.DrawFn) -> list[TeamFile]:
    """One to four teams whose quotas fit into the flavors together."""
    names = draw(st.lists(TEAM_NAMES, min_size=1, max_size=4, unique=True))
    share = len(names)
    found = []
    for name in names:
        quotas: dict[str, Any] = {"cpu": {"cpu": draw(amounts(min(40, 90 // share))), "memory": draw(amounts(2**30))}}
        if draw(st.booleans()):
            quotas["a100"] = {
                "cpu": draw(amounts(48 // share)),
                "memory": draw(amounts(2**30)),
                "nvidia.com/gpu": draw(amounts(8 // share)),
            }
        backfill = {"borrow": {"cpu": {"cpu": draw(st.integers(0, 60))}}} if draw(st.booleans()) else None
        over = {"quotas": quotas, "weight": draw(st.integers(1, 4)), "reads": draw(st.lists(st.sampled_from([*names, "raw"]), unique=True))}
        who = {"team": name, "owner": f"team:{name}", "image": f"tiffin/{name}:1"}
        found.append(TeamFile.model_validate({**who, **over, "backfill": backfill}))
    return found
