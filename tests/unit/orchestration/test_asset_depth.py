"""A chain of assets that Dagster could not load is refused by name."""

from __future__ import annotations

import dagster as dg
import pytest

from resources.stack import stack_resources
from tiffin.compute import Team
from tiffin.core.errors import Invalid
from tiffin.orchestration.asset_depth import MAX_DEPTH, longest_chain
from tiffin.orchestration.definitions import team_definitions

TEAM = Team("demo", owner="team:demo")


def chain(length: int) -> list[dg.AssetsDefinition]:
    found: list[dg.AssetsDefinition] = []
    for number in range(length):

        @dg.asset(key=["demo", f"step_{number}"], deps=found[-1:])
        def step() -> None: ...

        found.append(step)
    return found


def test_a_chain_too_deep_for_dagster_is_named_with_a_fix() -> None:
    with pytest.raises(Invalid, match=r"from 'demo/step_0' to 'demo/step_900'; Dagster can load at most 900") as told:
        team_definitions(TEAM, resources=stack_resources(), others=chain(MAX_DEPTH + 1))

    assert "partitions of one asset" in told.value.fix


def test_the_deepest_chain_that_is_allowed_loads() -> None:
    definitions = team_definitions(TEAM, resources=stack_resources(), others=chain(MAX_DEPTH))

    assert len(definitions.get_repository_def().asset_graph.get_all_asset_keys()) == MAX_DEPTH


def test_the_longest_of_several_chains_is_found_and_cycles_are_left_to_dagster() -> None:
    graph = {"a": [], "b": ["a"], "c": ["b", "outside"], "x": [], "y": ["x"], "r": ["s"], "s": ["r"]}

    assert longest_chain(graph) == ["a", "b", "c"]
    assert longest_chain({"r": ["s"], "s": ["r"]}) == []
