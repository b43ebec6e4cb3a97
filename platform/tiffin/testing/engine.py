"""The conformance kit of `tiffin.engines.engine.Engine`.

Run it over an engine: `python -m tiffin.testing.engine NAME [--code sql|arrow|spark] [--seed N] [--cases DIR]`.
Every `*.parquet` in DIR is a case of its own: landings with `carrier: string`, `minutes: int`, `landed_at: timestamp[us, UTC]`.
What an engine answers is compared with a loop in plain Python, cell by cell. Sums are of whole numbers, and the mean is one
division: what is compared has one right answer, in whatever order the rows are taken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tiffin.core.errors import Invalid, PlatformError
from tiffin.core.units import to_us
from tiffin.engines.engine import Cut, Engine, Parameters, RangeEngine, TableFiles, Tables, find_engine
from tiffin.storage.content import content_digest

__all__ = ["RULES", "Case", "Subject", "check_engine", "generated_cases", "main", "read_cases"]

START = datetime(2030, 1, 1, tzinfo=UTC)
INSTANT = pa.timestamp("us", tz="UTC")
EXPECTED = pa.schema(
    [("carrier", pa.string()), ("flights", pa.int64()), ("late", pa.int64()), ("mean", pa.float64()), ("worst", pa.int64())]
)
Code = Literal["sql", "arrow", "spark"]
SQL = """
    with seen as (
        select carrier, minutes, case when minutes > 15 then 1 else 0 end as late
        from landings where landed_at >= $start and landed_at < $end
    )
    select carrier, count(*) as flights, sum(late) as late, cast(sum(minutes) as double) / nullif(count(minutes), 0) as mean,
           max(minutes) as worst
    from seen group by carrier
"""
# of every dialect: each must be refused, whatever stands in its way
HOSTILE = {
    "a file": "select * from read_text('/etc/hostname')",
    "a file by name": "select * from text.`/etc/hostname`",
    "a quoted file": "select * from '/etc/hostname'",
    "a table that is written": "create table stolen as select * from landings",
    "two statements": "select 1; drop table landings",
    "a setting": "set threads = 2",
    "a program": "select transform(carrier) using 'cat' as (carrier) from landings",
    "a program in a subquery": "select (select max(x) from (select transform(carrier) using 'id' as (x) from landings)) as x",
    "Java by name": "select `reflect`('java.lang.System', 'getProperty', 'user.home') as x",
    "a statement as text": "execute immediate 'set a = b'",
    "copying out": "copy landings to '/tmp/stolen'",
    "the clock": "select now() as x",
    "the clock in a subquery": "select (select current_timestamp) as x",
    "chance": "select random() as x from landings",
    "chance in a subquery": "select (select uuid()) as x",
}


@dataclass(frozen=True, slots=True)
class Case:
    """Landings: `carrier: string`, `minutes: int16` (perhaps null), `landed_at: timestamp[us, UTC]` (perhaps null)."""

    name: str
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine, and the kind of code that it is asked to run."""

    engine: Engine[Any]
    code: Code

    def definition(self) -> Any:
        """The one definition, in this code."""
        return SQL if self.code == "sql" else on_arrow if self.code == "arrow" else on_spark

    def of(self, rows: pa.Table, window: tuple[datetime, datetime]) -> pa.Table:
        """Its answer for one window, in the types that the oracle has."""
        return told(self.engine.transform(self.definition(), {"landings": rows}, given(window), subject="the case"))


def given(window: tuple[datetime, datetime]) -> Parameters:
    """Parameters of a window."""
    return {"start": window[0], "end": window[1]}


def on_arrow(tables: Tables, parameters: Parameters) -> pa.Table:
    """The definition over Arrow."""
    rows = tables["landings"]
    start, end = (pa.scalar(parameters[name], INSTANT) for name in ("start", "end"))
    rows = rows.filter(pc.and_(pc.greater_equal(rows["landed_at"], start), pc.less(rows["landed_at"], end)))
    rows = rows.append_column("late", pc.fill_null(pc.greater(rows["minutes"], 15), False).cast(pa.int64()))
    kinds = [([], "count_all"), ("late", "sum"), ("minutes", "sum"), ("minutes", "count"), ("minutes", "max")]
    found = rows.group_by("carrier").aggregate(kinds)
    count = pc.if_else(pc.equal(found["minutes_count"], 0), None, found["minutes_count"])
    mean = pc.divide(found["minutes_sum"].cast(pa.float64()), count.cast(pa.float64()))
    columns = [found["carrier"], found["count_all"], found["late_sum"], mean, found["minutes_max"]]
    return pa.table(columns, names=EXPECTED.names)


def on_spark(frames: Mapping[str, Any], parameters: Parameters) -> Any:
    """The definition over DataFrames; written with text, so that the kit needs no Spark of its own."""
    start, end = (f"timestamp_micros({to_us(parameters[name])})" for name in ("start", "end"))  # type: ignore[arg-type]  # instants, here
    rows = (
        frames["landings"]
        .where(f"landed_at >= {start} and landed_at < {end}")
        .selectExpr("*", "if(minutes > 15, 1, 0) as late", "minutes as seen")
    )
    found = rows.groupBy("carrier").agg({"*": "count", "late": "sum", "minutes": "sum", "seen": "max"})
    counted = rows.groupBy("carrier").agg({"minutes": "count"}).withColumnRenamed("carrier", "other")
    both = found.join(counted, found["carrier"].eqNullSafe(counted["other"]))
    mean = "cast(`sum(minutes)` as double) / nullif(`count(minutes)`, 0) as mean"
    return both.selectExpr("carrier", "`count(1)` as flights", "`sum(late)` as late", mean, "`max(seen)` as worst")


def oracle(rows: pa.Table, window: tuple[datetime, datetime]) -> pa.Table:
    """The definition as a loop."""
    groups: dict[str, list[int | None]] = {}
    for row in rows.select(["carrier", "minutes", "landed_at"]).to_pylist():
        if row["landed_at"] is not None and window[0] <= row["landed_at"] < window[1]:
            groups.setdefault(row["carrier"], []).append(row["minutes"])
    made = []
    for carrier, all_minutes in groups.items():
        minutes = [one for one in all_minutes if one is not None]
        mean = float(sum(minutes)) / len(minutes) if minutes else None
        late = sum(one > 15 for one in minutes)
        worst = max(minutes) if minutes else None
        made.append({"carrier": carrier, "flights": len(all_minutes), "late": late, "mean": mean, "worst": worst})
    return pa.Table.from_pylist(made, schema=EXPECTED)


def told(found: pa.Table) -> pa.Table:
    """An answer in the oracle's types: a count may be of any width, a sum a decimal."""
    assert isinstance(found, pa.Table), f"the answer is {type(found).__name__}, not pyarrow.Table"
    assert sorted(found.column_names) == sorted(EXPECTED.names), f"its columns are {found.column_names}"
    return found.select(EXPECTED.names).cast(EXPECTED)


def generated_cases(seed: int) -> Iterator[Case]:
    """Ordinary rows; keys with accents, blanks and none at all; nulls; one row; no rows."""
    random = np.random.default_rng(seed)
    for name, count, carriers in (
        ("small", 40, ["AA", "UA"]),
        ("odd keys", 900, ["", " ", "é", "e\u0301", "AA", "aa", "'", '"', "%s", "\\"]),
    ):
        yield Case(name, landings(random, count, carriers))
    yield Case("one row", landings(random, 1, ["AA"]))
    yield Case("no rows", landings(random, 0, ["AA"]))


def landings(random: np.random.Generator, count: int, carriers: Sequence[str]) -> pa.Table:
    """Two days of rows in no order; of the last carrier no delay is known."""
    picked = random.choice(carriers, count) if count else np.zeros(0, str)
    blank = (random.random(count) < 0.2) | ((picked == carriers[-1]) & (len(carriers) > 1))
    known = random.integers(0, 2 * 86_400_000_000, count)
    return pa.table(
        {
            "carrier": pa.array(picked.tolist(), pa.string(), mask=random.random(count) < 0.05),
            "minutes": pa.array(random.integers(-60, 900, count).astype(np.int16), mask=blank),
            "landed_at": pc.add(
                pa.scalar(START, INSTANT), pa.array(known, pa.int64(), mask=random.random(count) < 0.05).cast(pa.duration("us"))
            ),
        }
    )


def read_cases(folder: Path) -> Iterator[Case]:
    """The `*.parquet` files of a folder, in order of their names."""
    for path in sorted(folder.glob("*.parquet")):
        found = pq.read_table(path).select(["carrier", "minutes", "landed_at"])
        yield Case(path.stem, found.cast(pa.schema([("carrier", pa.string()), ("minutes", pa.int16()), ("landed_at", INSTANT)])))


def windows_of(case: Case) -> list[tuple[datetime, datetime]]:
    """Days: those of the case's rows, the first three at most, and one without any."""
    days = sorted({at.date() for at in case.rows["landed_at"].to_pylist() if at is not None})[:3]
    starts = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days] + [datetime(2040, 1, 1, tzinfo=UTC)]
    return [(start, start + timedelta(days=1)) for start in starts]


def gives_what_the_definition_says(subject: Subject, case: Case, seed: int) -> None:
    for window in windows_of(case):
        found, expected = subject.of(case.rows, window), oracle(case.rows, window)
        assert content_digest(found) == content_digest(expected), f"{window[0]:%Y-%m-%d}: {found.to_pylist()} is not {expected.to_pylist()}"


def means_nothing_by_the_order_of_rows(subject: Subject, case: Case, seed: int) -> None:
    window = windows_of(case)[0]
    order = np.random.default_rng(seed).permutation(case.rows.num_rows)
    assert content_digest(subject.of(case.rows.take(pa.array(order)), window)) == content_digest(subject.of(case.rows, window))


def repeats_itself_and_leaves_its_rows_alone(subject: Subject, case: Case, seed: int) -> None:
    window, before = windows_of(case)[0], content_digest(case.rows)
    assert content_digest(subject.of(case.rows, window)) == content_digest(subject.of(case.rows, window)), "a second run differs"
    assert content_digest(case.rows) == before, "the rows were changed"


def names_subject_and_nearest_column(subject: Subject, case: Case, seed: int) -> None:
    misspelt: dict[str, Any] = {
        "sql": "select carier from landings",
        "arrow": lambda tables, told: tables["landings"].select(["carier"]),
        "spark": lambda frames, told: frames["landings"].select("carier"),
    }
    refusal: Invalid | None = None
    try:
        subject.engine.transform(misspelt[subject.code], {"landings": case.rows}, {}, subject="view 'x', partition 2030-01-01")
    except Invalid as err:
        refusal = err
    assert refusal is not None, "a column that does not exist was accepted"
    message, fix = refusal.message, refusal.fix
    assert message.startswith("view 'x', partition 2030-01-01: "), f"the error does not begin with its subject: {message}"
    assert "carier" in message, f"the error does not say what was looked for: {message}"
    assert "'carrier'" in fix, f"the fix does not name the nearest column: {fix}"


def refuses_what_is_no_query_of_its_tables(subject: Subject, case: Case, seed: int) -> None:
    if subject.code != "sql":
        return
    for name, sql in HOSTILE.items():
        try:
            subject.engine.transform(sql, {"landings": case.rows}, {}, subject="the case")
        except Invalid:
            continue
        raise AssertionError(f"{name} was accepted: {sql}")


def reads_files_as_it_reads_rows(subject: Subject, case: Case, seed: int) -> None:
    if not isinstance(subject.engine, RangeEngine):
        return
    windows = windows_of(case)
    cuts = [Cut({"landings": window}, given(window), f"window {place}") for place, window in enumerate(windows)]
    with tempfile.TemporaryDirectory() as folder:
        half = case.rows.num_rows // 2
        paths = [Path(folder) / "a.parquet", Path(folder) / "b.parquet"]
        for path, rows in zip(paths, (case.rows.slice(0, half), case.rows.slice(half)), strict=True):
            pq.write_table(rows, path, compression="zstd", store_schema=False)
        found = list(subject.engine.transform_range(subject.definition(), {"landings": TableFiles(paths, "landed_at")}, cuts))
    assert len(found) == len(cuts), f"{len(found)} results for {len(cuts)} windows"
    for result, window in zip(found, windows, strict=True):
        assert content_digest(told(result)) == content_digest(oracle(case.rows, window)), f"the window of {window[0]:%Y-%m-%d} differs"


Rule = Callable[[Subject, Case, int], None]
RULES: Mapping[str, Rule] = {
    rule.__name__.replace("_", " "): rule
    for rule in (
        gives_what_the_definition_says,
        means_nothing_by_the_order_of_rows,
        repeats_itself_and_leaves_its_rows_alone,
        names_subject_and_nearest_column,
        refuses_what_is_no_query_of_its_tables,
        reads_files_as_it_reads_rows,
    )
}


def check_engine(engine: Engine[Any], code: Code, *, seed: int = 0, cases: Path | None = None) -> list[str]:
    """Every broken rule as `case: rule: what was found`; empty means that the engine conforms."""
    problems = []
    for case in [*generated_cases(seed), *(read_cases(cases) if cases else ())]:
        for name, rule in RULES.items():
            try:
                rule(Subject(engine, code), case, seed)
            except (AssertionError, PlatformError) as err:
                problems.append(f"{case.name}: {name}: {err}")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when the engine conforms, 1 when it does not."""
    parser = argparse.ArgumentParser(prog="python -m tiffin.testing.engine", description="Check an engine against its contract.")
    parser.add_argument("engine", help="arrow, duckdb, spark, or a name in the entry-point group tiffin.engines")
    parser.add_argument(
        "--code", choices=("sql", "arrow", "spark"), default="sql", help="what it is asked to run: SQL, or a function over tables"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated cases")
    parser.add_argument("--cases", type=Path, default=None, help="folder of *.parquet files with carrier, minutes and landed_at")
    asked = parser.parse_args(arguments)
    problems = check_engine(find_engine(asked.engine), asked.code, seed=asked.seed, cases=asked.cases)
    sys.stdout.write("\n".join([*problems, f"{asked.engine} ({asked.code}): {len(problems)} broken rules"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
