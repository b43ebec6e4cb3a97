"""The folder is the marker, and with several workers it also says which tests stay together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a test never asserts a time, and a noisy machine is no finding
settings.register_profile("tiffin", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("tiffin")

TESTS = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    # as early as this: xdist reads the groups before any conftest may modify the collection
    path = Path(item.path).relative_to(TESTS)
    item.add_marker(getattr(pytest.mark, path.parts[0]))
    # servers are dear: one house for all stories, one set of servers per file of real processes
    together = {"e2e": "house", "integration": path.stem, "contract": path.stem}.get(path.parts[0])
    if together is not None:
        item.add_marker(pytest.mark.xdist_group(together))
