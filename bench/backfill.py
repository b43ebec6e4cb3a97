"""What a year's backfill costs beside its bare work: `make bench BENCH=backfill`.

Three ways to the same 365 daily partitions of a view (`--view`; `fleet/carrier_delays` is the lightest), over the
real flights of 2013 (`--copies n`: each of them n times, a larger company's year), each into a new table:

- `tiffin`: one ranged run of the asset in Dagster, in process, on SQLite: leakage and data checks, canonical values, digests, events.
- `bare`: one script: read the source, sort it once, call the team's function or SQL per day, write all days by plain delta-rs, partitioned.
- `bare_in_dagster`: the bare script as the body of a plain ranged asset: what Dagster's events of 365 partitions cost.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from assets.fleet.carriers import carrier_delays, carrier_profile
from assets.fleet.team import team as fleet
from assets.network.flights import load_flights
from assets.network.routes import route_carriers
from assets.network.team import team as network
from bench.report import interleaved, print_json, print_table
from tiffin.compute.team import Team
from tiffin.embedded.dagster_server import EVENT_BATCHES, write_instance
from tiffin.features.partitions import Window
from tiffin.features.view import FeatureView
from tiffin.orchestration.definitions import team_assets
from tiffin.orchestration.no_pickles import RefusingIOManager
from tiffin.orchestration.resource_keys import StackClock
from tiffin.storage.delta import DeltaStore
from tiffin.storage.folder import FolderStore

FIRST, LAST = date(2013, 1, 1), date(2013, 12, 31)
NOW = datetime(2014, 1, 2, tzinfo=UTC)
DAYS = [FIRST + timedelta(days=place) for place in range(365)]
RANGE = {"dagster/asset_partition_range_start": FIRST.isoformat(), "dagster/asset_partition_range_end": LAST.isoformat()}
VIEWS = {
    f"{team.name}/{view.name}": (team, view)
    for team, view in ((fleet, carrier_delays), (fleet, carrier_profile), (network, route_carriers))
}


def bare(view: FeatureView, source: str, target: Path) -> pa.Table:
    """The year's transform and write, as somebody would write it who needs nothing else."""
    rows = DeltaTable(source).to_pyarrow_table().sort_by("landed_at")
    known = np.asarray(rows["landed_at"].cast(pa.int64()))
    database = duckdb.connect()
    parts = []
    for day in DAYS:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        end = start + timedelta(days=1)
        first, last = np.searchsorted(known, [int((end - view.lookback).timestamp() * 1e6), int(end.timestamp() * 1e6)])
        seen = rows.slice(first, last - first)
        if view.transform is not None:
            made = view.transform(seen, Window(start=start, end=end))
        else:
            database.register("flights", seen)
            made = database.sql(str(view.sql)).to_arrow_table()
        made = made.append_column("event_time", pa.array([end] * made.num_rows, pa.timestamp("us", tz="UTC")))
        parts.append(made.append_column("partition", pa.array([day.isoformat()] * made.num_rows)))
    year = pa.concat_tables(parts)
    write_deltalake(str(target), year, partition_by=["partition"], mode="overwrite")
    return year


def plain_asset(view: FeatureView, source: str, target: Path) -> dg.AssetsDefinition:
    """The bare script as an asset over the same days."""

    @dg.asset(
        partitions_def=dg.DailyPartitionsDefinition(start_date=FIRST.isoformat(), end_date="2014-01-01"),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def plain() -> dg.MaterializeResult[None]:
        bare(view, source, target)
        return dg.MaterializeResult(metadata={"rows": 1})

    return plain


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance, resources: dict[str, Any]) -> None:
    """One ranged run in process."""
    done = dg.materialize([asset], instance=instance, tags=RANGE, resources=resources)
    assert done.success


def competitors(
    team: Team, view: FeatureView, store: DeltaStore, folder: Path, instance: dg.DagsterInstance
) -> dict[str, Callable[[], object]]:
    """Each makes its own table anew in every round."""
    source, turns = store.url("raw/flights"), itertools.count()
    asset = next(one for one in team_assets(team, [view]) if one.key.path[-1] == view.name)

    def new() -> Path:
        made = folder / f"turn{next(turns)}"
        made.mkdir()
        return made

    def tiffin() -> None:
        shutil.rmtree(folder / "tables" / "tables" / team.name, ignore_errors=True)
        objects = FolderStore(folder / "dev")
        run(asset, instance, {"tables": store, "dev_objects": objects, "clock": StackClock(NOW), "io_manager": RefusingIOManager()})

    def bare_in_dagster() -> None:
        run(plain_asset(view, source, new() / "table"), instance, {})

    return {"tiffin": tiffin, "bare": lambda: bare(view, source, new() / "table"), "bare_in_dagster": bare_in_dagster}


def main() -> None:
    """Time them interleaved, after a comparison of what they wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=1, help="every flight so many times: rows in, not rows out")
    parser.add_argument("--view", choices=sorted(VIEWS), default="fleet/carrier_delays")
    asked = parser.parse_args()
    rounds, ref = asked.rounds, asked.view
    team, view = VIEWS[ref]
    os.environ.update(EVENT_BATCHES)
    logging.getLogger("dagster").setLevel(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="tiffin-bench-"))
    try:
        store = DeltaStore(str(folder / "tables"))
        store.replace("raw/flights", pa.concat_tables([load_flights()] * asked.copies), partitions=None)
        write_instance(folder / "dagster")  # as `tiffin up` makes it: SQLite
        instance = dg.DagsterInstance.from_config(str(folder / "dagster"))
        ways = competitors(team, view, store, folder, instance)
        year = bare(view, store.url("raw/flights"), folder / "compared")
        ways["tiffin"]()
        ours = store.read(ref, columns=["partition"])
        if ours.num_rows != year.num_rows or set(ours["partition"].to_pylist()) != {day.isoformat() for day in DAYS}:
            raise SystemExit(f"the bare script made {year.num_rows} rows, the run {ours.num_rows}")
        times = interleaved(ways, rounds=rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    own = times["tiffin"]
    figures = {f"{name}_{kind}_s": getattr(one, kind) for name, one in times.items() for kind in ("wall", "cpu")}
    figures |= {"backfill_over_bare": own.wall / times["bare"].wall, "backfill_over_bare_cpu": own.cpu / times["bare"].cpu}
    figures |= {"backfill_over_plain_asset": own.wall / times["bare_in_dagster"].wall}
    table = [
        [name, f"{one.wall:.2f}", f"{one.cpu:.2f}", f"{own.wall / one.wall:.2f}", f"{own.cpu / one.cpu:.2f}"] for name, one in times.items()
    ]
    print_table(
        f"{ref}: 365 days, every flight {asked.copies} times, {year.num_rows:,} rows made; medians of {rounds}",
        ["", "wall s", "CPU s", "tiffin's wall to it", "tiffin's CPU to it"],
        table,
    )
    detail = {
        "view": ref,
        "copies": asked.copies,
        "rows": year.num_rows,
        "partitions": 365,
        "rounds": rounds,
        "wall_s": {name: [round(x, 3) for x in one.wall_s] for name, one in times.items()},
    }
    print_json("backfill", figures=figures, detail=detail, packages=["tiffin", "dagster", "deltalake", "pyarrow", "numpy"])


if __name__ == "__main__":
    main()
