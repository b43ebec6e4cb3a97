"""Views on an engine that reads files: what it is handed, and that its rows become the same partitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.flight_views import counted, hours, landings, make_view
from tiffin.core.errors import Invalid, NotFound, Unsupported
from tiffin.engines import engine
from tiffin.engines.arrow import ArrowEngine
from tiffin.engines.engine import Cut, TableFiles
from tiffin.features import Source
from tiffin.features.offline import materialise
from tiffin.features.source_rows import SourceRows, ViewRows
from tiffin.features.view import FeatureView
from tiffin.storage.delta import DeltaStore
from tiffin.storage.tables import StagesFiles

WRITTEN = datetime(2031, 1, 1, tzinfo=UTC)
SOURCE = landings(("UA", 1, 5.0), ("AA", 2, 1.0), ("UA", 25, 7.0), ("AA", 49, 2.0), ("AA", None, 2.0))


class Files(ArrowEngine):
    """Reads Parquet by itself; it stands for Spark where no JVM is wanted."""

    seen: ClassVar[list[tuple[list[Path], list[Cut]]]] = []

    def transform_range(self, code: Any, files: Mapping[str, TableFiles], cuts: Sequence[Cut]) -> Iterator[pa.Table]:
        self.seen.append((list(files["landings"].paths), list(cuts)))
        read = {name: SourceRows(pa.concat_tables(pq.read_table(path) for path in one.paths), one.time) for name, one in files.items()}
        for cut in cuts:
            yield self.transform(
                code, {name: rows.between(*cut.bounds[name]) for name, rows in read.items()}, cut.parameters, subject=cut.subject
            )


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(engine.BUILT_IN, "files", f"{__name__}:Files")
    yield
    Files.seen.clear()


@pytest.fixture
def tables(tmp_path: Path) -> DeltaStore:
    store = DeltaStore(str(tmp_path))
    store.replace("raw/landings", SOURCE, partitions=None)
    return store


def on_files(**options: Any) -> FeatureView:
    return make_view(name="on_files", engine="files", lookback="2d", **options)


def test_files_and_memory_give_the_same_partitions(tables: DeltaStore) -> None:
    seen: list[tuple[int, int, int]] = []
    plain = make_view(lookback="2d")
    windows = plain.windows(until=hours(96))

    expected = materialise(plain, windows, team="ops", tables=tables, written_at=WRITTEN)
    done = materialise(on_files(), windows, team="ops", tables=tables, written_at=WRITTEN, progress=lambda *args: seen.append(args))

    assert (done.version, done.digests) == (0, expected.digests)
    assert [one[:2] for one in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [cut.subject for cut in Files.seen[0][1]][:2] == [
        "view 'on_files', partition 2030-01-01",
        "view 'on_files', partition 2030-01-02",
    ]


def test_files_are_of_the_version_that_the_rows_were_read_at(tables: DeltaStore) -> None:
    view = on_files()
    rows = ViewRows.read(view, tables)
    tables.replace("raw/landings", SOURCE.slice(0, 1), partitions=None)

    done = materialise(view, view.windows(until=hours(48)), team="ops", tables=tables, written_at=WRITTEN, rows=rows)

    assert done.rows == {"2030-01-01": 2, "2030-01-02": 2}
    assert rows.versions == {"raw/landings": 0}


def test_an_input_reaches_the_engine_with_its_own_bounds(tables: DeltaStore) -> None:
    fleet = landings(("UA", 0, 1.0), ("AA", 26, 1.0))
    tables.replace("raw/fleet", fleet, partitions=None)
    view = on_files(inputs=[Source("raw/fleet", time="landed_at")], transform=lambda rows, window, fleet: counted(fleet, window))

    done = materialise(view, view.windows(until=hours(48)), team="ops", tables=tables, written_at=WRITTEN)

    assert done.rows == {"2030-01-01": 1, "2030-01-02": 2}


def test_an_error_says_its_partition_and_writes_nothing(tables: DeltaStore) -> None:
    view = on_files(transform=lambda rows, window: counted(rows, window) if window.start < hours(24) else 1)

    with pytest.raises(Invalid, match="partition 2030-01-02") as caught:
        materialise(view, view.windows(until=hours(48)), team="ops", tables=tables, written_at=WRITTEN)

    assert caught.value.context["partition"] == "2030-01-02"
    assert tables.version("ops/on_files") is None


class NoFiles:
    """A table store that gives no files."""

    def __init__(self, inner: DeltaStore) -> None:
        self.version, self.read, self.replace = inner.version, inner.read, inner.replace


def test_a_store_without_files_is_refused_by_name(tables: DeltaStore) -> None:
    view = on_files()

    with pytest.raises(Unsupported, match="view 'on_files' runs on 'files', which reads tables by their files"):
        materialise(view, view.windows(until=hours(24)), team="ops", tables=NoFiles(tables), written_at=WRITTEN)


def test_a_table_that_has_not_landed_is_named(tmp_path: Path) -> None:
    view = on_files()

    with pytest.raises(NotFound, match="view 'on_files' needs table 'raw/landings', which has not landed"):
        materialise(view, view.windows(until=hours(24)), team="ops", tables=DeltaStore(str(tmp_path)), written_at=WRITTEN)


def test_local_files_are_of_the_version_asked_for(tables: DeltaStore, tmp_path: Path) -> None:
    tables.replace("raw/landings", SOURCE.slice(0, 1), partitions=None)
    assert isinstance(tables, StagesFiles)

    rows = [sum(pq.read_metadata(path).num_rows for path in tables.local_files("raw/landings", version=v, folder=tmp_path)) for v in (0, 1)]

    assert rows == [5, 1]
    with pytest.raises(NotFound):
        tables.local_files("raw/nothing", version=0, folder=tmp_path)


def test_a_partitioned_table_has_no_files_to_give(tables: DeltaStore, tmp_path: Path) -> None:
    materialise(make_view(), make_view().windows(until=hours(24)), team="ops", tables=tables, written_at=WRITTEN)

    with pytest.raises(Unsupported, match="is partitioned"):
        tables.local_files("ops/delays", version=0, folder=tmp_path)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        pytest.param({"engine": "arrow", "sql": "select 1"}, "'arrow' runs functions", id="SQL on Arrow"),
        pytest.param({"engine": "duckdb"}, "'duckdb' runs SQL", id="function on DuckDB"),
    ],
)
def test_code_that_its_engine_does_not_run_is_refused_where_it_is_declared(options: dict[str, Any], found: str) -> None:
    with pytest.raises(Invalid, match=found):
        make_view(**options)


def test_the_engine_is_part_of_the_definition_where_it_is_not_the_usual_one() -> None:
    assert make_view().definition == make_view(engine="arrow").definition
    assert make_view().definition != make_view(engine="spark").definition
