"""One value everywhere: the live answer is the offline score of the same model version, bit for bit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import tritonclient.grpc as grpc

from assets.eta.endpoints import eta, late
from assets.fleet.team import specs as fleet_specs
from assets.fleet.team import team as fleet
from assets.network.team import specs as network_specs
from assets.network.team import team as network
from resources.stack import object_store
from tests.e2e.house import AS_OF, OUTPUTS, House, ask
from tiffin.manifests.signing import Verifier
from tiffin.orchestration.catalog import view_records
from tiffin.registry.verified import fetch_current, fetch_file, fetch_record
from tiffin.serving.deployment import Deployment
from tiffin.storage.delta import DeltaStore
from tiffin.training.batch import to_batch, to_matrix
from tiffin.training.build import join_as_of
from tiffin.training.columns import batch_columns
from tiffin.training.trainer import find_trainer

FIRST = datetime(2013, 6, 10, 0, 30, tzinfo=UTC)
INSTANTS = [FIRST, FIRST + timedelta(days=1), FIRST + timedelta(days=2)]


def departing(flights: pa.Table, after: datetime, until: datetime) -> pa.Table:
    at = flights["sched_dep_at"]
    return flights.filter(pc.and_(pc.greater(at, pa.scalar(after)), pc.less_equal(at, pa.scalar(until))))


def offline(house: House, deployment: Deployment, rows: pa.Table, instant: datetime) -> np.ndarray:
    """The promoted model version's answer for these rows, joined to the features known at `instant`."""
    settings, table = house.settings, deployment.model.table
    tables = DeltaStore.for_bucket(settings.need("s3_endpoint"), "dev", settings.need("dev_access_key"), settings.need("dev_secret_key"))
    records = [*view_records(network, network_specs), *view_records(fleet, fleet_specs)]
    views = {f"{record.team}/{record.name}": record for record in records}
    prod, verifier = object_store(settings, "prod_read"), Verifier(settings.need("signing_public_key"))
    _, live = fetch_current(prod, verifier, "deployment", "eta", deployment.name)
    model = fetch_record(prod, verifier, "model", live.model, name="the live model")
    files = {file.path: fetch_file(prod, file, of="the live model") for file in model.files}
    joined = join_as_of(table, rows, instant, team="eta", views=views, tables=tables)
    _, matrix = to_matrix(deployment.model.preprocess, to_batch(joined, batch_columns(table, views)), inputs=model.inputs)
    assert deployment.postprocess is not None
    return deployment.postprocess(find_trainer(model.trainer).predict(files, matrix))[OUTPUTS[deployment.name]]


@pytest.mark.parametrize("instant", INSTANTS, ids=lambda instant: instant.date().isoformat())
def test_every_flight_of_the_next_day_gets_the_offline_bits_from_both_endpoints(
    house: House, client: grpc.InferenceServerClient, instant: datetime
) -> None:
    settings = house.settings
    tables = DeltaStore.for_bucket(settings.need("s3_endpoint"), "dev", settings.need("dev_access_key"), settings.need("dev_secret_key"))
    rows = departing(tables.read("raw/flights"), instant, instant + timedelta(hours=24))
    some = range(0, len(rows), 50)
    try:
        house.publish_as_of(instant.isoformat())

        live = {one.name: ask(client, rows, one.name) for one in (eta, late)}
        alone = {one.name: np.concatenate([ask(client, rows.slice(row, 1), one.name) for row in some]) for one in (eta, late)}
    finally:
        house.publish_as_of(AS_OF)

    assert len(rows) > 500
    assert rows["tailnum"].null_count > 0
    for deployment in (eta, late):
        expected = offline(house, deployment, rows, instant)
        assert np.unique(expected).size > 300
        assert np.count_nonzero(live[deployment.name].view(np.int64) != expected.view(np.int64)) == 0
        assert np.array_equal(alone[deployment.name].view(np.int64), expected[::50].view(np.int64))
