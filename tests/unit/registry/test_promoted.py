"""Which model version is live: the one that a promoted deployment names."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.object_store_fake import MemoryStore
from tests.registry_records import NOW, write_deployment
from tiffin.core.errors import Corrupt
from tiffin.manifests.signing import Verifier, generate_key
from tiffin.registry.promote import promote, rollback
from tiffin.registry.promoted import live_model
from tiffin.storage.layout import manifest_key

SIGNER = generate_key()
VERIFIER = Verifier(SIGNER.public_hex)


class House:
    """Two buckets and a clock that goes on by a minute a move."""

    def __init__(self) -> None:
        self.dev, self.prod, self.minutes = MemoryStore(), MemoryStore(), 0

    def now(self) -> datetime:
        self.minutes += 1
        return NOW + timedelta(minutes=self.minutes)

    def deploy(self, number: int) -> str:
        """A deployment of another model version; returns that version's digest."""
        edition = write_deployment(self.dev, number)
        promote("deployment", edition.digest, dev=self.dev, prod=self.prod, signer=SIGNER, now=self.now)
        return edition.model_digest

    def live(self, name: str = "eta", team: str = "eta") -> str | None:
        found = live_model(self.prod, VERIFIER, team, name)
        return None if found is None else found[0]


def test_a_model_that_no_deployment_serves_is_not_live() -> None:
    house = House()
    assert house.live() is None

    house.deploy(1)

    assert house.live("another") is None
    assert house.live(team="network") is None


def test_the_version_that_the_promoted_deployment_names_is_live_also_after_a_rollback() -> None:
    house = House()
    first, second = house.deploy(1), house.deploy(2)
    assert house.live() == second != first

    rollback("deployment", "eta", "eta", prod=house.prod, now=house.now)

    assert house.live() == first


def test_the_record_of_the_live_version_has_its_metrics() -> None:
    house = House()
    house.deploy(1)

    found = live_model(house.prod, VERIFIER, "eta", "eta")

    assert found is not None
    assert found[1].metrics == {"mae": 12.5}


def test_a_changed_model_manifest_is_no_bar_to_compare_with() -> None:
    house = House()
    digest = house.deploy(1)
    house.prod.put(manifest_key("model", digest), b"{}")

    with pytest.raises(Corrupt, match="model 'eta/eta'"):
        house.live()
