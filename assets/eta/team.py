"""Who the eta team is and what it declares."""

from __future__ import annotations

from assets.eta.departures import eta_table, late_table
from assets.eta.endpoints import eta, eta_model, late, late_model
from tiffin.compute import Team

__all__ = ["specs", "team"]

team = Team("eta", owner="team:eta", description="Arrival times.")
specs = (eta_table, eta_model, eta, late_table, late_model, late)
