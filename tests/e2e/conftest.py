"""One house for all stories: started, filled with the year, and taken down by pid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tritonclient.grpc as grpc

from tests.e2e.house import JUNE_HOURS, House, filled


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with filled(Path(tmp_path_factory.mktemp("house"))) as house:
        hours = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), JUNE_HOURS, strict=True))
        house.materialise("network", ["airport_hours"], tags=hours)
        yield house


@pytest.fixture
def client(house: House) -> Iterator[grpc.InferenceServerClient]:
    with grpc.InferenceServerClient(house.settings.need("triton_grpc")) as client:
        yield client
