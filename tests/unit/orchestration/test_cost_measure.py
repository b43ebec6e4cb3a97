"""Online memory in the bill: the bytes of promoted editions, shared by who reads them."""

from __future__ import annotations

from tests.object_store_fake import MemoryStore
from tests.registry_records import fixed_now, write_deployment, write_generation
from tiffin.compute.cost import NONE, bill_of
from tiffin.compute.prices import Prices
from tiffin.manifests.signing import Signer, Verifier
from tiffin.orchestration.cost_measure import edition_bytes, measure_online
from tiffin.registry.promote import promote

SIGNER = Signer("11" * 32)
MONTH_US = 730 * 3_600_000_000
PRICES = Prices(flavors={"cpu": {"cpu": "1"}}, online_gib_month=str(2**30))  # a dollar a byte and month


def test_an_edition_costs_its_bytes_and_whoever_reads_it_is_named() -> None:
    dev, prod = MemoryStore(), MemoryStore()
    digest, edition = write_generation(dev)
    promote("generation", digest, dev=dev, prod=prod, signer=SIGNER, now=fixed_now)
    measure = measure_online(lambda: (prod, Verifier(SIGNER.public_hex)))

    alone = bill_of(measure(0, MONTH_US), (), PRICES)
    promote("deployment", write_deployment(dev).digest, dev=dev, prod=prod, signer=SIGNER, now=fixed_now)
    read = bill_of(measure(0, MONTH_US), (), PRICES)

    assert edition_bytes(edition) == len(b"base segment 1delta segment 1")
    assert alone.by("team", "model") == {("network", NONE): edition_bytes(edition) * 1_000_000}
    assert read.by("asset", "model") == {("network/carrier_delays", "eta/eta"): edition_bytes(edition) * 1_000_000}


def test_nothing_promoted_is_nothing_paid() -> None:
    assert measure_online(lambda: (MemoryStore(), Verifier(SIGNER.public_hex)))(0, MONTH_US) == []
