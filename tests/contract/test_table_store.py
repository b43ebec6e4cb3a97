"""The table store kit against Delta in a folder and Delta in a bucket, and what only a server has."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tiffin.core.errors import Denied, NotReady
from tiffin.embedded.seaweed import Seaweed
from tiffin.storage.delta import DeltaStore
from tiffin.storage.tables import StagesFiles, TableStore
from tiffin.testing.table_store import CASES, Case, check_table_store, rows_of_day, run_random_program


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    if request.param == "folder":
        return DeltaStore(str(tmp_path))
    server: Seaweed = request.getfixturevalue("seaweed")
    return DeltaStore.for_bucket(server.endpoint, "dev", server.keys.dev.access_key, server.keys.dev.secret_key)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_table_store_keeps_the_contract(store: TableStore, fresh: str, case: Case) -> None:
    case(store, f"{fresh}/case")


@pytest.mark.parametrize("seed", range(3))
def test_a_random_program_agrees_with_a_dictionary(store: TableStore, fresh: str, seed: int) -> None:
    run_random_program(store, f"{fresh}/program", seed)


def test_the_kit_names_the_case_that_fails(tmp_path: Path) -> None:
    class Lossy(DeltaStore):
        def read(self, ref: str, **asked: object) -> pa.Table:
            return super().read(ref, **asked).slice(1)

    with pytest.raises(AssertionError, match="every type reads back"):
        check_table_store(Lossy(str(tmp_path)), "team")


def test_a_year_of_days_is_one_commit_and_its_repetition_none(store: TableStore, fresh: str) -> None:
    days = [f"2030-{month:02d}-{day:02d}" for month in range(1, 13) for day in range(1, 29)]
    table = pa.concat_tables([rows_of_day(day, [1, 2, 3]) for day in days])

    first = store.replace(f"{fresh}/year", table, partitions=days)
    again = store.replace(f"{fresh}/year", table, partitions=days)

    assert (first.version, len(first.changed)) == (0, len(days))
    assert (again.version, again.changed) == (0, ())
    assert store.read(f"{fresh}/year").equals(table.select(store.read(f"{fresh}/year").column_names))


def test_an_engine_gets_the_files_of_a_version(store: TableStore, fresh: str, tmp_path: Path) -> None:
    assert isinstance(store, StagesFiles)
    for values in ([1, 2], [3]):
        store.replace(f"{fresh}/raw", rows_of_day(None, values), partitions=None)

    paths = store.local_files(f"{fresh}/raw", version=0, folder=tmp_path)

    assert [pq.read_table(path, partitioning=None)["value"].to_pylist() for path in paths] == [[1, 2]]


def test_plain_deltalake_reads_what_is_written_to_a_bucket(seaweed: Seaweed, fresh: str) -> None:
    store = DeltaStore.for_bucket(seaweed.endpoint, "dev", seaweed.keys.dev.access_key, seaweed.keys.dev.secret_key)
    store.replace(f"{fresh}/a", rows_of_day("2030-01-01", [3, 1]), partitions=["2030-01-01"])

    table = DeltaTable(store.url(f"{fresh}/a"), storage_options=store.options)

    assert table.metadata().partition_columns == ["partition"]
    assert table.to_pyarrow_table()["value"].to_pylist() == [3, 1]


def test_tables_of_another_bucket_are_denied_by_key_id(seaweed: Seaweed) -> None:
    store = DeltaStore.for_bucket(seaweed.endpoint, "prod", seaweed.keys.dev.access_key, seaweed.keys.dev.secret_key)

    for action in (lambda: store.version("team/a"), lambda: store.replace("team/a", rows_of_day("x", [1]), partitions=["x"])):
        with pytest.raises(Denied, match=seaweed.keys.dev.access_key) as caught:
            action()
        assert seaweed.keys.dev.secret_key not in str(caught.value)


def test_tables_of_a_server_that_is_down_are_not_ready() -> None:
    store = DeltaStore.for_bucket("http://127.0.0.1:1", "dev", "key", "secret")

    with pytest.raises(NotReady, match="does not answer"):
        store.version("team/a")
