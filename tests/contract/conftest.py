"""Real servers for the kits, started once for all of them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tiffin.embedded.seaweed import Seaweed, start_seaweed


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An object store with the buckets dev and prod and their key pairs."""
    server = start_seaweed(tmp_path_factory.mktemp("seaweed"))
    yield server
    server.stop()


@pytest.fixture
def fresh() -> str:
    """A name that nothing else in a shared server has."""
    return f"t{secrets.token_hex(6)}"
