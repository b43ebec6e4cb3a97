"""How many assets stand on each other: Dagster walks the chain by recursion and dies in a long one without a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid

__all__ = ["MAX_DEPTH", "check_depth", "longest_chain"]

MAX_DEPTH = 900
"""Dagster 1.13.27 loads a chain of 1,000 and raises RecursionError at 2,000, whatever the team's code calls from."""


def longest_chain(upstream: Mapping[str, Sequence[str]]) -> list[str]:
    """The longest chain of assets, first one first; without recursion, in time linear in the edges.

    Assets on a cycle are left out: Dagster names cycles by itself.

    Example:
        >>> longest_chain({"a": [], "b": ["a"], "c": ["b", "a"], "d": ["a"]})
        ['a', 'b', 'c']
    """
    waits = {name: sum(up in upstream for up in ups) for name, ups in upstream.items()}
    downstream: dict[str, list[str]] = {name: [] for name in upstream}
    for name, ups in upstream.items():
        for up in ups:
            if up in downstream:
                downstream[up].append(name)
    ready = [name for name, count in waits.items() if not count]
    depth = dict.fromkeys(ready, 1)
    before: dict[str, str] = {}
    for name in ready:  # grows while it is walked
        for down in downstream[name]:
            if depth[name] + 1 > depth.get(down, 0):
                depth[down], before[down] = depth[name] + 1, name
            waits[down] -= 1
            if not waits[down]:
                ready.append(down)
    if not ready:
        return []
    chain = [max(ready, key=depth.__getitem__)]
    while chain[-1] in before:
        chain.append(before[chain[-1]])
    return chain[::-1]


def check_depth(team: Team, assets: Sequence[dg.AssetsDefinition]) -> None:
    """Refuse a chain that Dagster would not survive.

    Raises:
        Invalid: names the chain's ends and its length.
    """
    upstream = {key.to_user_string(): [up.to_user_string() for up in asset.asset_deps[key]] for asset in assets for key in asset.asset_deps}
    if len(upstream) <= MAX_DEPTH:
        return
    chain = longest_chain(upstream)
    if len(chain) > MAX_DEPTH:
        raise Invalid(
            f"team {team.name!r}: {len(chain)} assets stand on each other, from {chain[0]!r} to {chain[-1]!r}; "
            f"Dagster can load at most {MAX_DEPTH} in one chain",
            fix="make the steps of one chain partitions of one asset, or start a second chain from a source table in between",
            context={"first": chain[0], "last": chain[-1], "length": len(chain)},
        )
