"""The real year, read once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from assets.fleet.register import load_planes
from assets.network.flights import load_flights, load_weather


@pytest.fixture(scope="session")
def year() -> pa.Table:
    return load_flights()


@pytest.fixture(scope="session")
def sources(year: pa.Table) -> dict[str, pa.Table]:
    """Every raw table by name."""
    return {"raw/flights": year, "raw/weather": load_weather(), "raw/planes": load_planes()}
