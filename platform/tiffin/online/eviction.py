"""A server that evicts rows would answer "no such entity" for one that there is: such a server is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.core.errors import Unsupported

__all__ = ["refuse_eviction"]


def refuse_eviction(memory: Mapping[str, Any], *, view: str) -> None:
    """Look at what a server says in `INFO memory`; a full server that refuses writes is fine, for that is noticed.

    Raises:
        Unsupported: it has a limit and drops keys to stay below it.

    Example:
        >>> refuse_eviction({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, view="a/b")
        >>> refuse_eviction({"maxmemory": 1, "maxmemory_policy": "noeviction"}, view="a/b")
    """
    limit, policy = int(memory.get("maxmemory", 0)), str(memory.get("maxmemory_policy", "noeviction"))
    if limit and policy != "noeviction":
        raise Unsupported(
            f"view {view}: the online store evicts keys under {limit:,} bytes ({policy}): entities would silently vanish",
            fix="set its maxmemory-policy to noeviction (or maxmemory to 0) and give it enough memory",
            context={"maxmemory": limit, "policy": policy},
        )
