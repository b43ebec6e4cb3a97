"""User SQL: one SELECT over the given tables, and nothing else reaches the machine."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from tiffin.core.errors import Invalid
from tiffin.engines.duckdb import DuckEngine, run_sql

INSTANT = pa.timestamp("us", tz="UTC")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
FLIGHTS = pa.table(
    {
        "carrier": ["UA", "AA", "UA"],
        "delay": pa.array([5, None, 7], pa.int16()),
        "landed_at": pa.array([NOON, NOON, NOON], INSTANT),
    }
)


def select(sql: str, **parameters: object) -> pa.Table:
    return run_sql(sql, {"flights": FLIGHTS}, parameters, subject="view 'delays'")


def test_a_select_sees_its_table_and_its_parameters() -> None:
    found = select(
        "select carrier, count(*) as flights from flights where landed_at < $end group by carrier order by 1", end=NOON.replace(hour=13)
    )

    assert found.to_pylist() == [{"carrier": "AA", "flights": 1}, {"carrier": "UA", "flights": 2}]


def test_parameters_that_the_sql_does_not_use_are_no_error() -> None:
    assert select("select 1 as x", start=NOON, end=NOON).num_rows == 1


def test_times_keep_their_zone_and_their_microseconds() -> None:
    found = select(
        "select max(landed_at) + interval 1 microsecond as t, date_trunc('day', $end::timestamptz) as day from flights", end=NOON
    )

    assert found.schema.types == [INSTANT, INSTANT]
    assert found.cast(pa.schema([("t", INSTANT), ("day", INSTANT)])).to_pylist() == [
        {"t": NOON.replace(microsecond=1), "day": NOON.replace(hour=0)}
    ]


def test_the_session_is_in_utc_wherever_the_machine_is() -> None:
    assert select("select hour(landed_at) as h from flights limit 1")["h"].to_pylist() == [12]


def test_one_engine_serves_many_windows_and_forgets_their_tables() -> None:
    engine = DuckEngine()
    for rows in range(3):
        assert engine.transform("select * from flights", {"flights": FLIGHTS.slice(rows)}, {}, subject="v").num_rows == 3 - rows

    with pytest.raises(Invalid, match="flights"):
        engine.transform("select * from flights", {"weather": FLIGHTS}, {}, subject="v")


def test_no_warning_reaches_the_user() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        select("select * from flights")


HOSTILE = {
    "csv file": "select * from read_csv('{file}')",
    "file as a table": "select * from '{file}'",
    "file as text": "select * from read_text('{file}')",
    "file as bytes": "select * from read_blob('{file}')",
    "folder": "select * from glob('{folder}/*')",
    "parquet": "select * from read_parquet('{folder}/*.parquet')",
    "sniffing": "select * from sniff_csv('{file}')",
    "network": "select * from read_csv('http://127.0.0.1:1/x.csv')",
    "copy to": "copy (select 1) to '{folder}/out'",
    "copy from": "copy flights from '{file}'",
    "export": "export database '{folder}/out'",
    "attach": "attach '{folder}/x.db'",
    "attach as a table function": "select * from read_duckdb('{folder}/x.db')",
    "install": "install httpfs",
    "load": "load httpfs",
    "set": "set threads = 8",
    "unlock": "set lock_configuration = false",
    "reset": "reset threads",
    "pragma": "pragma version",
    "call": "call pragma_version()",
    "two statements": "select 1; select 2",
    "hidden second statement": "select 1; copy (select 1) to '{folder}/out'",
    "nothing": "",
    "only a comment": "-- select 1",
    "create": "create table x as select 1",
    "insert": "insert into flights select * from flights",
    "insert behind with": "with x as (select 1) insert into flights select * from x",
    "drop": "drop view flights",
    "explain": "explain analyze select 1",
    "prepare": "prepare x as select 1",
    "begin": "begin",
    "variable": "set variable x = 1",
    "secrets": "select * from duckdb_secrets()",
    "environment": "select getenv('HOME')",
    "sql in text": "select * from query('select 1')",
    "local Python variable": "select * from FLIGHTS_OF_THE_TEST",
}
FLIGHTS_OF_THE_TEST = FLIGHTS


@pytest.mark.parametrize("sql", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_statement_is_refused_by_the_views_name(sql: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")

    with pytest.raises(Invalid, match="view 'delays'"):
        select(sql.format(file=file, folder=tmp_path))

    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.csv"]


@pytest.mark.parametrize(
    "sql",
    ["select now()", "select current_timestamp", "select today ()", "select random() from flights", "select uuid()", "select CURRENT_DATE"],
)
def test_sql_that_is_no_function_of_its_rows_is_refused(sql: str) -> None:
    with pytest.raises(Invalid, match="not a function of the rows") as caught:
        select(sql)

    assert "$end" in caught.value.fix


def test_a_text_that_only_mentions_the_clock_is_allowed() -> None:
    assert select("select 'now()' as x /* random() */ -- today()").num_rows == 1


@pytest.mark.parametrize(
    ("sql", "found", "fix"),
    [
        pytest.param("select carier from flights", '"carier" not found', "did you mean 'carrier'?", id="column"),
        pytest.param("select f.carier from flights f", '"carier"', "did you mean 'carrier'?", id="column of an alias"),
        pytest.param("select * from flihgts", "flihgts does not exist", "did you mean 'flights'?", id="table"),
        pytest.param("select coutn(delay) from flights", "coutn does not exist", "did you mean 'count'?", id="function"),
        pytest.param("selec 1", "syntax error", "correct the SQL", id="syntax"),
        pytest.param("select carrier, count(*) from flights", "GROUP BY", "correct the SQL", id="group by"),
        pytest.param("select * from flights where landed_at < $ende", "$ende", "did you mean 'end'?", id="parameter"),
        pytest.param("select delay + carrier from flights", "No function matches", "correct the SQL", id="types"),
        pytest.param("select carrier::int from flights", "Could not convert", "correct the SQL", id="value"),
        pytest.param("select * from read_csv('/x')", "disabled by configuration", "only its source, as table 'flights'", id="file"),
    ],
)
def test_an_error_in_sql_names_the_view_what_was_found_and_the_fix(sql: str, found: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        select(sql, start=NOON, end=NOON)

    assert caught.value.message.startswith("view 'delays': its SQL")
    assert found in caught.value.message
    assert fix in caught.value.fix
    assert len(caught.value.message) < 400
    assert "\n" not in caught.value.message
