"""Which columns a result column comes from."""

from __future__ import annotations

from functools import partial

import pytest

from tiffin.engines.sql_tree import select_tree
from tiffin.lineage.columns import columns_named, columns_of_select

TABLES = {"flights": ["origin", "dest", "dep_delay", "arr_delay"], "planes": ["tailnum", "seats"]}
LATE = "arr_delay"


def lineage(sql: str) -> dict[str, set[str]]:
    tree = select_tree(sql)
    assert tree is not None
    return {name: {".".join(source) for source in sources} for name, sources in columns_of_select(tree, TABLES).items()}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        pytest.param(
            "select origin, avg(arr_delay)::float as late from flights group by origin",
            {"origin": {"flights.origin"}, "late": {"flights.arr_delay"}},
            id="an aggregate",
        ),
        pytest.param(
            "select sum(dep_delay) filter (where arr_delay > 30) as s, count(*) as n from flights where dest = 'LAX'",
            {"s": {"flights.dep_delay", "flights.arr_delay"}, "n": set()},
            id="a filter counts, where does not",
        ),
        pytest.param(
            "with d as (select origin o, dep_delay + arr_delay as both from flights) select x.o, max(x.both) m from d x group by all",
            {"o": {"flights.origin"}, "m": {"flights.dep_delay", "flights.arr_delay"}},
            id="through a step",
        ),
        pytest.param(
            "select f.origin, p.seats from flights f join planes p on f.dest = p.tailnum",
            {"origin": {"flights.origin"}, "seats": {"planes.seats"}},
            id="a join",
        ),
        pytest.param(
            "select * exclude (dest) from flights",
            {"origin": {"flights.origin"}, "dep_delay": {"flights.dep_delay"}, "arr_delay": {"flights.arr_delay"}},
            id="a star",
        ),
        pytest.param(
            "select dep_delay as a from flights union all select seats from planes",
            {"a": {"flights.dep_delay", "planes.seats"}},
            id="a union by position",
        ),
        pytest.param(
            "select (select max(seats) from planes) - dep_delay as q from (select dep_delay from flights) f",
            {"q": {"planes.seats", "flights.dep_delay"}},
            id="subqueries",
        ),
        pytest.param(
            "select arr_delay as a, a * 2 as b from flights", {"a": {"flights.arr_delay"}, "b": {"flights.arr_delay"}}, id="alias"
        ),
        pytest.param(
            "select arg_max(ARR_DELAY, dep_delay) over (partition by Dest) as last from FLIGHTS",
            {"last": {"flights.arr_delay", "flights.dep_delay", "flights.dest"}},
            id="a window, in any case",
        ),
        pytest.param("select $start as s, 1 as one from flights", {"s": set(), "one": set()}, id="constants"),
    ],
)
def test_sql_is_traced_to_its_sources(sql: str, expected: dict[str, set[str]]) -> None:
    assert lineage(sql) == expected


def test_what_duckdb_cannot_parse_has_no_tree() -> None:
    assert select_tree("select `a` lateral view explode(b)") is None
    assert select_tree("select 1; select 2") is None


def helper(rows):
    return rows["dest"], rows.dep_delay


def transform(rows, window):
    """Names origin in its text only."""
    return helper(rows), rows[LATE]


def test_a_function_is_traced_by_the_names_that_it_and_its_helpers_use() -> None:
    assert columns_named(transform, TABLES["flights"]) == {"dest", "dep_delay", "arr_delay"}


def test_a_function_without_source_is_not_guessed_at() -> None:
    space: dict[str, object] = {}
    exec("def typed(rows): return rows['dest']", space)

    assert columns_named(space["typed"], ["dest"]) is None
    assert columns_named(partial(transform, None).func, ["dest"]) == {"dest"}
