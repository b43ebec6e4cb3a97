"""Teams and what their steps ask of a cluster."""

from tiffin.compute.spec import Compute
from tiffin.compute.team import Team

__all__ = ["Compute", "Team"]
