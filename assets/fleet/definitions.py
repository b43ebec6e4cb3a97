"""The fleet team's code location."""

from __future__ import annotations

from assets.fleet.team import specs, team
from resources.stack import stack_resources
from tiffin.orchestration.definitions import team_definitions

definitions = team_definitions(team, *specs, resources=stack_resources())
