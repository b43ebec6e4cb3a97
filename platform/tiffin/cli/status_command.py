"""`tiffin status`: what runs, what it serves, and who owns it."""

from __future__ import annotations

import sys
from typing import Any

from tiffin.cli.options import HomeOption, JsonOption, home_of
from tiffin.cli.output import show, show_table

__all__ = ["status"]


def status(home: HomeOption = None, json: JsonOption = False) -> None:
    """Parts by use, teams, endpoints with model and owner, views with their generation and freshness, URLs.

    Exit 3 when a part does not work.

    Example: tiffin status --json
    """
    from tiffin.core.clock import wall_clock
    from tiffin.embedded.status import report  # 1.2 s: boto3, pydantic, signing

    found = report(home_of(home), now=wall_clock())
    if json:
        show(found.to_json(), as_json=True, text="")
        sys.exit(0 if found.healthy else 3)
    parts = [
        [
            part.name,
            str(part.pid or ""),
            " ".join(f"{name}:{port}" for name, port in part.ports.items()),
            age(part.uptime_s),
            part.trouble or "works",
        ]
        for part in found.parts
    ]
    show_table("parts", ["part", "pid", "ports", "up", "health"], parts)
    if found.teams:
        show_table("\nteams", ["team", "owner", "views published", "endpoints ready"], [team_row(one) for one in found.teams])
    if found.deployments:
        show_table("\nendpoints", ["endpoint", "manifest", "serves", "model", "owner"], [deployment_row(one) for one in found.deployments])
    if found.views:
        show_table("\nviews", ["view", "generation", "complete up to", "age", "rows"], [view_row(one) for one in found.views])
    lines = [f"  {name:<14} {url}" for name, url in found.urls.items()]
    lines.append(f"  {'time':<14} {'now' if found.as_of is None else f'replays {found.as_of}'}")
    lines.append(f"  {'isolation':<14} {found.isolation}" + (": steps can read the promoter's keys" if found.isolation == "none" else ""))
    print("\n" + "\n".join(lines))
    sys.exit(0 if found.healthy else 3)


def age(seconds: float | None) -> str:
    """For people.

    Example:
        >>> age(3700.0), age(42.4), age(9e5), age(None)
        ('1 h 1 min', '42 s', '10 d', '')
    """
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    if hours >= 72:
        return f"{hours // 24} d"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def deployment_row(one: dict[str, Any]) -> list[str]:
    """A deployment, or what is wrong with its record."""
    name = f"{one['team']}/{one['name']}"
    if "trouble" in one:
        return [name, "", one["trouble"], "", ""]
    serves = "ready" if one["ready"] else str(one["reason"])
    return [name, one["manifest"][:12], serves, f"{one['model_name']} {one['model'][:12]}", one["owner"]]


def view_row(one: dict[str, Any]) -> list[str]:
    """A view, or what is wrong with its record."""
    name = f"{one['team']}/{one['name']}"
    if "trouble" in one:
        return [name, "", one["trouble"], "", ""]
    return [name, one["generation"][:12], one["watermark"], age(one["age_s"]), str(one["rows"])]


def team_row(one: dict[str, Any]) -> list[str]:
    """A team, counted."""
    return [one["team"], one["owner"], f"{one['published']} of {one['views']}", f"{one['ready']} of {one['endpoints']}"]
