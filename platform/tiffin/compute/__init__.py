"""Team specs, and later quotas, Jobs and the Kueue state machine."""

from tiffin.compute.team import Team

__all__ = ["Team"]
