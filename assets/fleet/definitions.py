"""The fleet team's code location."""

from __future__ import annotations

from pathlib import Path

from assets.fleet.team import specs, team
from resources.stack import stack_resources
from tiffin.orchestration.definitions import team_definitions

CATALOG = Path(__file__).parents[1] / "catalog.json"

definitions = team_definitions(team, *specs, catalog=CATALOG, resources=stack_resources())
