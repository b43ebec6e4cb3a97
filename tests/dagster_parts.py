"""The parts of a stack for a code location of a test: tables in a folder; every other part is there by name only."""

from __future__ import annotations

from pathlib import Path

from tiffin.orchestration.resource_keys import REQUIRED, StackClock
from tiffin.storage.delta import DeltaStore

__all__ = ["Absent", "bound"]


class Absent:
    """A part that this test does not have: whoever touches it is told which one."""

    def __init__(self, name: str) -> None:
        self.part = name

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"this test has no {self.__dict__['part']!r}, asked for {name!r}")


def bound(tables: Path) -> dict[str, object]:
    """Every name that a location must bind."""
    return {**{name: Absent(name) for name in REQUIRED}, "tables": DeltaStore(str(tables)), "clock": StackClock()}
