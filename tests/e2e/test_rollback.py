"""Rolling back an endpoint under traffic: no request fails, and the old bits are back."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import tritonclient.grpc as grpc

from assets.eta.endpoints import eta, eta_model
from assets.eta.team import team
from assets.fleet.team import specs as fleet_specs
from assets.fleet.team import team as fleet
from assets.network.team import specs as network_specs
from assets.network.team import team as network
from resources.stack import object_store
from tests.e2e.house import House, ask
from tiffin.manifests.signing import Verifier
from tiffin.orchestration.catalog import view_records
from tiffin.orchestration.deployment_assets import render_deployment
from tiffin.orchestration.resource_keys import ProdReader
from tiffin.orchestration.training_assets import train_version
from tiffin.registry.models import current
from tiffin.storage.delta import DeltaStore

REQUESTS = 200


def deploy_another_model(house: House) -> str:
    """Train a smaller model on the same table, deploy it by `tiffin promote`; returns its manifest's digest."""
    settings = house.settings
    dev, prod = object_store(settings, "dev"), object_store(settings, "prod_read")
    tables = DeltaStore.for_bucket(settings.need("s3_endpoint"), "dev", settings.need("dev_access_key"), settings.need("dev_secret_key"))
    records = [*view_records(network, network_specs), *view_records(fleet, fleet_specs)]
    views = {f"{record.team}/{record.name}": record for record in records}
    small = eta_model.with_changes(params={**eta_model.params, "num_iterations": 40}, gates=())
    reader = ProdReader(prod, Verifier(settings.need("signing_public_key")))
    train_version(small, team=team, views=views, tables=tables, dev=dev, prod=reader, run_id=None)
    digest, _ = render_deployment(eta.with_changes(model=small), team=team, views=views, tables=tables, dev=dev, run_id=None)
    house.tiffin("promote", "eta", "--manifest", digest)
    return digest


def traffic(
    address: str, endpoint: str, rows: pa.Table, stop: threading.Event, answers: list[np.ndarray], errors: list[Exception]
) -> Callable[[], None]:
    def run() -> None:
        with grpc.InferenceServerClient(address) as client:
            while not stop.is_set():
                try:
                    answers.append(ask(client, rows, endpoint))
                except Exception as err:  # noqa: BLE001  any failed request is what the test counts
                    errors.append(err)

    return run


def test_rollback_under_traffic_brings_back_the_old_bits_and_leaves_the_other_endpoint_alone(
    house: House, client: grpc.InferenceServerClient
) -> None:
    settings = house.settings
    tables = DeltaStore.for_bucket(settings.need("s3_endpoint"), "dev", settings.need("dev_access_key"), settings.need("dev_secret_key"))
    fixed = tables.read("raw/flights").slice(300_000, REQUESTS)
    prod = object_store(settings, "prod_read")
    first = current(prod, "deployment", "eta", "eta")
    before = np.concatenate([ask(client, fixed.slice(row, 1)) for row in range(REQUESTS)])
    second = deploy_another_model(house)
    between, beside = ask(client, fixed), ask(client, fixed, "late")
    stop, answers, errors = threading.Event(), [], []
    others: list[np.ndarray] = []
    asked = [("eta", answers), ("eta", answers), ("late", others)]
    threads = [threading.Thread(target=traffic(settings.need("triton_grpc"), name, fixed, stop, found, errors)) for name, found in asked]
    for thread in threads:
        thread.start()

    try:
        house.tiffin("rollback", "eta")
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    after = np.concatenate([ask(client, fixed.slice(row, 1)) for row in range(REQUESTS)])
    now = current(prod, "deployment", "eta", "eta")
    assert first is not None
    assert now is not None
    assert (now.manifest, second != first.manifest) == (first.manifest, True)
    assert not errors
    assert len(answers) > 10
    assert np.array_equal(after.view(np.int64), before.view(np.int64))
    assert not np.array_equal(between, before)
    wholly = [np.array_equal(answer, before) or np.array_equal(answer, between) for answer in answers]
    assert all(wholly)
    assert len(others) > 5
    assert all(np.array_equal(answer, beside) for answer in others)
