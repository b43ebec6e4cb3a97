"""One page about an asset for whoever opens it: what it is, whether it is fresh, what it cost, whose it is, what would break."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

__all__ = ["card", "downstream_of", "fresh", "lasting", "standing_on", "would_break"]


def would_break(ref: str, edges: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Everything that stands on `ref`, nearest first, over the borders of teams.

    Args:
        edges: by asset what it directly stands on, e.g. of `catalog.edges_of`.

    Example:
        >>> would_break("raw/flights", {"net/delays": ["raw/flights"], "eta/table": ["net/delays"], "eta/eta": ["eta/table"]})
        ('net/delays', 'eta/table', 'eta/eta')
    """
    return downstream_of(ref, standing_on(edges))


def standing_on(edges: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The same edges the other way round: by asset what directly stands on it."""
    found: dict[str, list[str]] = {}
    for one, stands_on in edges.items():
        for upstream in stands_on:
            found.setdefault(upstream, []).append(one)
    return found


def downstream_of(ref: str, standing: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`would_break` over edges that were turned round once for many questions."""
    found: dict[str, None] = {}
    level = [ref]
    while level:
        level = sorted({one for upstream in level for one in standing.get(upstream, ()) if one not in found and one != ref})
        found |= dict.fromkeys(level)
    return tuple(found)


def fresh(complete_to: datetime | None, *, now: datetime, promised: timedelta | None) -> str:
    """How far it is complete, and whether that is what was promised."""
    if complete_to is None:
        return "nothing of it exists yet"
    age = f"complete to {complete_to:%Y-%m-%d %H:%M} UTC, {lasting(now - complete_to)} ago"
    if promised is None:
        return age
    return f"{age}; {'**late**' if now - complete_to > promised else 'fresh'}: promised is {lasting(promised)}"


def lasting(length: timedelta) -> str:
    """A length as people say it.

    Example:
        >>> lasting(timedelta(hours=26)), lasting(timedelta(minutes=5)), lasting(timedelta(days=40))
        ('26 h', '5 min', '40 days')
    """
    seconds = length.total_seconds()
    if abs(seconds) < 7200:
        return f"{seconds / 60:.4g} min"
    return f"{seconds / 3600:.4g} h" if abs(seconds) < 72 * 3600 else f"{seconds / 86400:.4g} days"


def card(
    what: str, *, owner: str, fresh: str, content: str, cost: Mapping[str, object], breaks: Sequence[str], where: Mapping[str, str]
) -> str:
    """The page, as Markdown.

    Args:
        what: one sentence.
        content: rows, bytes, version.
        cost: of `Stopwatch.metadata`.
        breaks: of `would_break`.
        where: places by what they are: table, manifest, endpoint.
    """
    teams = sorted({one.partition("/")[0] for one in breaks})
    broken = f"{', '.join(breaks)} (teams: {', '.join(teams)})" if breaks else "nothing stands on it"
    lines = {
        "What it is": " ".join(what.split()) or "not described",
        "Is it fresh": fresh,
        "What is in it": content,
        "What it cost": spoken(cost),
        "Who owns it": owner,
        "What would break": broken,
        **where,
    }
    rows = "\n".join(f"| **{name}** | {text.replace('|', '/')} |" for name, text in lines.items())
    return f"| | |\n|---|---|\n{rows}"


def spoken(cost: Mapping[str, object]) -> str:
    """Seconds, and dollars where a price is declared."""
    step, total = (float(str(cost[name])) for name in ("cost/step_wall_s", "cost/wall_s_so_far"))
    priced = f", {float(str(cost['cost/usd_so_far'])):.4f} USD at the team's declared price" if "cost/usd_so_far" in cost else ""
    return f"{step:.1f} s of wall time now, {total:.1f} s in all successful steps so far{priced}"
