"""The as-of join beside DuckDB's, and beside the least that any such join must do.

    python -m bench.asof [--seed 0] [--sizes 20000,200000,2000000]

One feature table of four columns, as many feature rows as labels, an entity for every twenty of them (100,000 at
the largest size) over a year, a TTL of 30 days. Times are whole hours, so that labels fall exactly on the instant a
row became known, and one row in ten repeats another one's key and event time (written later: it must win). Some
keys are null.

Competitors, all from Arrow tables in memory:

- `tiffin`: `tiffin.asof.join.join`, one thread.
- `duckdb`: `ASOF LEFT JOIN` with the same rules: the later write wins a tie, TTL from the event time; all cores.
- `duckdb_bare`: `ASOF LEFT JOIN` alone; takes any row of a tie and ignores the TTL, so its answer is another one.
- `floor`: numpy sorts the rows' `(key, time)` and searches the labels' in them; no ties, TTL, nulls or columns.

The answers of `tiffin` and `duckdb` are compared, cell by cell, before anything is timed.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bench.report import interleaved, print_json, print_table
from tiffin.asof.join import join

SIZES = (20_000, 200_000, 2_000_000)
ROUNDS = {20_000: 15, 200_000: 9}
FEWEST_ROUNDS = 4
ROWS_PER_ENTITY = 20
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
TTL_US = 30 * DAY_US
YEAR_US = 365 * DAY_US
INSTANT = pa.timestamp("us", tz="UTC")
FEATURES = ("trips", "delay", "load", "visits")
LATEST = """
    select entity, known_at, arg_max(row, written_at) as row from (
        select entity, known_at, written_at, struct_pack(event_time, trips, delay, load, visits) as row from feature_rows
    ) group by entity, known_at
"""
SAME_RULES = f"""
    with latest as ({LATEST}),
    joined as (
        select label.*, latest.row, coalesce(epoch_us(label.asked_at) - epoch_us(latest.row.event_time) <= {TTL_US}, false) as alive
        from labels label asof left join latest on label.entity = latest.entity and label.asked_at >= latest.known_at
    )
    select number, entity, asked_at, {", ".join(f"case when alive then row.{name} end as {name}" for name in FEATURES)} from joined
"""
BARE = f"""
    select label.*, {", ".join(f"feature_rows.{name}" for name in FEATURES)}
    from labels label asof left join feature_rows on label.entity = feature_rows.entity and label.asked_at >= feature_rows.known_at
"""


@dataclass(frozen=True)
class Problem:
    """Labels and feature rows, made from a seed."""

    labels: pa.Table
    rows: pa.Table


def make_problem(size: int, seed: int) -> Problem:
    """`size` labels and `size` feature rows of a twentieth as many entities in a year; a row is known an hour after its event."""
    rng, entities = np.random.default_rng([seed, size]), max(1, size // ROWS_PER_ENTITY)

    def hours(count: int) -> np.ndarray:
        return rng.integers(0, YEAR_US // HOUR_US, count) * HOUR_US

    def keys(count: int) -> pa.Array:
        return pa.array(rng.integers(0, entities, count), mask=rng.random(count) < 0.001)

    labels = pa.table({"number": np.arange(size), "entity": keys(size), "asked_at": pa.array(hours(size)).cast(INSTANT)})
    fresh = size - size // 10
    repeats = np.concatenate([np.arange(fresh), rng.integers(0, fresh, size - fresh)])
    entity, event = keys(fresh).take(pa.array(repeats)), hours(fresh)[repeats]
    shuffled = pa.array(rng.permutation(size))
    rows = pa.table(
        {
            "entity": entity,
            "trips": pa.array(rng.integers(0, 500, size), pa.int16()),
            "delay": pa.array(rng.normal(0, 30, size).astype(np.float32), mask=rng.random(size) < 0.05),
            "load": pa.array(rng.random(size).astype(np.float32)),
            "visits": pa.array(rng.integers(0, 1_000_000, size), pa.int32()),
            "event_time": pa.array(event).cast(INSTANT),
            "known_at": pa.array(event + HOUR_US).cast(INSTANT),
            "written_at": pa.array(YEAR_US + np.arange(size)).cast(INSTANT),
        }
    ).take(shuffled)
    return Problem(labels.combine_chunks(), rows.combine_chunks())


def ours(problem: Problem) -> pa.Table:
    """The library's join."""
    rules: dict[str, Any] = {"keys": ["entity"], "label_time": "asked_at", "features": FEATURES}
    return join(problem.labels, problem.rows, **rules, ttl_us=TTL_US, rename=str)


def peer(problem: Problem, sql: str) -> Callable[[], pa.Table]:
    """DuckDB on the same Arrow tables, with all cores; connecting is not timed."""
    connection = duckdb.connect(":memory:")
    connection.execute("set TimeZone = 'UTC'")
    connection.register("labels", problem.labels)
    connection.register("feature_rows", problem.rows)
    return lambda: connection.sql(sql).to_arrow_table()


def floor(problem: Problem) -> Callable[[], np.ndarray]:
    """One sort and one binary search over whole numbers that lie ready."""

    def ready(table: pa.Table, time: str) -> np.ndarray:
        entity = table["entity"].fill_null(len(table)).to_numpy()
        joined: np.ndarray = entity * (2 * YEAR_US) + table[time].cast(pa.int64()).to_numpy()
        return joined

    wanted, known = ready(problem.labels, "asked_at"), ready(problem.rows, "known_at")

    def search() -> np.ndarray:
        order = np.argsort(known)
        found: np.ndarray = order[np.searchsorted(known[order], wanted, side="right") - 1]
        return found

    return search


def compare(found: pa.Table, expected: pa.Table) -> dict[str, float]:
    """End the run unless every cell is the same; else, what the answer looks like."""
    expected = expected.sort_by("number").select(found.column_names)
    for name in found.column_names:
        if found[name].combine_chunks() != expected[name].combine_chunks():
            sys.exit(f"wrong: tiffin and DuckDB differ in column {name!r}")
    return {"answered_share": round(1 - found["trips"].null_count / len(found), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="labels, comma-separated; feature rows are as many")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    detail: dict[str, object] = {
        "seed": options.seed,
        "rows_per_entity": ROWS_PER_ENTITY,
        "ttl_days": TTL_US // DAY_US,
        "features": len(FEATURES),
    }
    for size in map(int, options.sizes.split(",")):
        problem = make_problem(size, options.seed)
        same_rules = peer(problem, SAME_RULES)
        answer = compare(ours(problem), same_rules())
        rounds = ROUNDS.get(size, FEWEST_ROUNDS)
        gc.collect()
        times = interleaved(
            {
                "tiffin": partial(ours, problem),
                "duckdb": same_rules,
                "duckdb_bare": peer(problem, BARE),
                "floor": floor(problem),
            },
            rounds=rounds,
        )
        own = times["tiffin"]
        for name, clocked in times.items():
            figures |= {f"{name}_wall_s_{size}": clocked.wall, f"{name}_cpu_s_{size}": clocked.cpu}
            if name != "tiffin":
                figures |= {f"wall_ratio_to_{name}_{size}": own.wall / clocked.wall, f"cpu_ratio_to_{name}_{size}": own.cpu / clocked.cpu}
        figures[f"tiffin_labels_per_s_{size}"] = size / own.wall
        detail[str(size)] = {
            "rounds": rounds,
            **answer,
            "wall_s": {name: [round(one, 5) for one in clocked.wall_s] for name, clocked in times.items()},
        }
        print_table(
            f"{size:,} labels and feature rows; answers equal to DuckDB's, {answer['answered_share']:.0%} not null; medians of {rounds}",
            ["", "wall ms", "CPU ms", "tiffin's wall to it", "tiffin's CPU to it"],
            [
                [name, f"{one.wall * 1e3:,.1f}", f"{one.cpu * 1e3:,.1f}", f"{own.wall / one.wall:.2f}", f"{own.cpu / one.cpu:.2f}"]
                for name, one in times.items()
            ],
        )
    print_json("asof", figures=figures, detail=detail, packages=["tiffin", "numpy", "pyarrow", "duckdb"])


if __name__ == "__main__":
    main()
