"""Engines by name: ours, and what other packages bring."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pyarrow as pa
import pytest

from tiffin.core.errors import Invalid, NotFound
from tiffin.engines import engine
from tiffin.engines.arrow import ArrowEngine
from tiffin.engines.duckdb import DuckEngine
from tiffin.engines.engine import RangeEngine, find_engine
from tiffin.engines.spark_sql import with_spark_parameters


def plugged(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    points = [EntryPoint(name="theirs", value=value, group="tiffin.engines")]
    monkeypatch.setattr(engine, "entry_points", lambda group: points if group == "tiffin.engines" else [])


class Theirs:
    def transform(self, code: Any, tables: Any, parameters: Any, *, subject: str) -> pa.Table:
        return pa.table({"subject": [subject]})


def test_ours_are_there() -> None:
    assert isinstance(find_engine("arrow"), ArrowEngine)
    assert isinstance(find_engine("duckdb"), DuckEngine)
    assert not isinstance(find_engine("arrow"), RangeEngine)


def test_a_plugged_in_engine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plugged(monkeypatch, f"{__name__}:Theirs")

    assert find_engine("theirs").transform("", {}, {}, subject="it")["subject"].to_pylist() == ["it"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param("nowhere.at.all:Engine", "cannot be imported: No module named 'nowhere'", id="module"),
        pytest.param("tiffin.engines.arrow:Engine", "cannot be imported: .* has no attribute 'Engine'", id="attribute"),
        pytest.param("collections:Counter", "has no transform", id="no engine"),
    ],
)
def test_what_is_no_engine_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, found: str) -> None:
    plugged(monkeypatch, value)

    with pytest.raises(Invalid, match=found):
        find_engine("theirs")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(NotFound, match="no engine 'sparc'") as caught:
        find_engine("sparc")
    assert "did you mean 'spark'?" in caught.value.fix


@pytest.mark.parametrize(
    ("sql", "text", "names"),
    [
        pytest.param("select $start, $end_1", "select :start, :end_1", {"start", "end_1"}, id="two"),
        pytest.param("select '$start', \"$start\", `$start`", "select '$start', \"$start\", `$start`", set(), id="quoted"),
        pytest.param("-- $start\n/* $start */ select $end", "-- $start\n/* $start */ select :end", {"end"}, id="comments"),
        pytest.param(r"select 'it\'s $start', $end", r"select 'it\'s $start', :end", {"end"}, id="backslash"),
    ],
)
def test_parameters_are_written_as_spark_wants_them(sql: str, text: str, names: set[str]) -> None:
    assert with_spark_parameters(sql) == (text, names)
