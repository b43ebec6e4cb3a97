"""The Spark engine on a real JVM: the same content as Arrow and DuckDB, one JVM and one commit a run, errors by window."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.flight_views import hours
from tests.spark_windows import SQL, VIEWS, month, on_spark, view_on
from tiffin.core.errors import Invalid
from tiffin.engines import spark as spark_engine
from tiffin.features import Source, Window
from tiffin.features.compute import compute
from tiffin.features.leakage import check_window
from tiffin.features.offline import materialise
from tiffin.features.view import FeatureView
from tiffin.storage.delta import DeltaStore
from tiffin.storage.tables import Replaced

WRITTEN = datetime(2031, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> DeltaStore:
    store = DeltaStore(str(tmp_path_factory.mktemp("tables")))
    store.replace("raw/landings", month(7), partitions=None)
    return store


def write(view: FeatureView, tables: DeltaStore, **options: Any) -> Replaced:
    return materialise(view, view.windows(until=WRITTEN), team="ops", tables=tables, written_at=WRITTEN, **options)


def test_a_month_is_the_same_content_on_every_engine(tables: DeltaStore) -> None:
    done = {name: write(view, tables) for name, view in VIEWS.items()}

    digests = {name: replaced.digests for name, replaced in done.items()}
    assert len(digests["arrow"]) == 31
    assert sum(done["arrow"].rows.values()) > 31 * 3
    for name in ("duckdb", "spark", "spark sql"):
        assert digests[name] == digests["arrow"], name


def test_a_run_is_one_commit_of_the_version_that_it_began_with(tables: DeltaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    view, jobs = view_on("pinned", transform=on_spark, engine="spark"), []
    run = spark_engine.arrow

    def landing_meanwhile(frame: Any, *told: Any) -> pa.Table:
        if not jobs:
            tables.replace("raw/landings", month(8), partitions=None)
        jobs.append(frame)
        return run(frame, *told)

    monkeypatch.setattr(spark_engine, "arrow", landing_meanwhile)

    done = write(view, tables)
    tables.replace("raw/landings", month(7), partitions=None)

    assert (done.version, len(jobs)) == (0, 1)
    assert done.digests == write(VIEWS["arrow"], tables).digests


def test_the_jvm_starts_once(tables: DeltaStore) -> None:
    first, second = spark_engine.SparkEngine().spark, spark_engine.SparkEngine().spark

    assert first.sparkContext is second.sparkContext


def failing(rows: Any, window: Window) -> Any:
    return on_spark(rows, window).selectExpr("carrier", "flights", "late", "delay_mean", f"int(1 / {int(window.start.day != 17)}) as worst")


@pytest.mark.parametrize(
    ("code", "found", "fix"),
    [
        pytest.param({"transform": failing}, "partition 2030-01-17: Spark refused it: Division by zero", "try_divide", id="in a job"),
        pytest.param({"transform": lambda rows, window: rows.select("carier")}, "`carier` cannot be resolved", "'carrier'", id="column"),
        pytest.param({"transform": lambda rows, window: rows.count()}, "returned int: expected pyspark.sql.DataFrame", "groupBy", id="int"),
        pytest.param({"transform": lambda rows, window: {}["minuts"]}, "raised KeyError: 'minuts'", "'minutes'", id="Python"),
        pytest.param({"sql": SQL.replace("landings", "landing")}, "`landing` cannot be found", "'landings'", id="table"),
        pytest.param({"sql": SQL.replace("max(minutes)", "max($stop)")}, "parameter $stop", "use one of: end, start", id="parameter"),
    ],
)
def test_an_error_names_its_window_and_the_fix(tables: DeltaStore, code: dict[str, Any], found: str, fix: str) -> None:
    before = tables.version("ops/broken")

    with pytest.raises(Invalid) as caught:
        write(view_on("broken", engine="spark", **code), tables)

    assert caught.value.message.startswith("view 'broken', partition 2030-01-")
    assert found in caught.value.message
    assert fix in caught.value.fix
    assert "\n" not in caught.value.message
    assert tables.version("ops/broken") == before


def test_a_source_without_its_time_is_refused(tables: DeltaStore) -> None:
    view = view_on("lost", transform=on_spark, engine="spark").with_changes(source=Source("raw/landings", time="landed"))

    with pytest.raises(Invalid, match="its time 'landed' is no column") as caught:
        write(view, tables)
    assert "'landed_at'" in caught.value.fix


def test_an_input_is_cut_on_spark_too(tables: DeltaStore) -> None:
    fleet = pa.table({"carrier": ["AA", "DL"], "registered_at": pa.array([hours(-1), hours(24)], pa.timestamp("us", tz="UTC"))})
    tables.replace("raw/fleet", fleet, partitions=None)
    sql = SQL.replace("from landings", "from landings join fleet using (carrier)")
    inputs = (Source("raw/fleet", time="registered_at"),)

    done = [write(view_on(f"joined_{name}", sql=sql, engine=name, inputs=inputs), tables) for name in ("duckdb", "spark")]

    assert done[0].digests == done[1].digests
    assert (done[0].rows["2030-01-01"], done[0].rows["2030-01-02"]) == (1, 2)


def test_the_leakage_check_runs_on_spark(tables: DeltaStore) -> None:
    rows, window = tables.read("raw/landings"), VIEWS["spark"].window("2030-01-09")

    def peeking(given: Any, window: Window) -> Any:
        from pyspark.sql import functions

        return on_spark(given.where(functions.col("landed_at") < functions.lit(window.end + timedelta(hours=9))), window)

    assert check_window(VIEWS["spark"], window, rows) is None
    assert check_window(view_on("peeking", transform=peeking, engine="spark"), window, rows) is not None


def test_one_window_over_rows_in_memory_is_the_same_too() -> None:
    rows, window = month(3), VIEWS["spark"].window("2030-01-05")

    assert compute(VIEWS["spark"], window, rows).equals(compute(VIEWS["arrow"], window, rows))


STARTS = """
import shutil, sys
shutil.which = lambda name: None  # a machine without Java
from tiffin.engines.engine import find_engine
import pyarrow as pa
found = find_engine("spark").transform("select sum(x) as x from rows", {"rows": pa.table({"x": [1, 2]})}, {}, subject="it")
print(found["x"].to_pylist(), find_engine("spark").spark._jvm.java.lang.System.getProperty("java.version"))
"""


def test_spark_starts_on_the_java_that_a_package_brings(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTS],
        env={"TIFFIN_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert done.stdout.split() == ["[3]", "25.0.2"], done.stderr
    assert (tmp_path / "java" / "bin" / "java").is_file()
