"""Transforms in Python: what they raise and return is told by the view's name."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tiffin.core.errors import Invalid, NotFound
from tiffin.engines.arrow import ArrowEngine
from tiffin.engines.engine import Parameters, Tables

FLIGHTS = pa.table({"carrier": ["UA"], "delay": [5]})


def run(code: Callable[[pa.Table], object]) -> pa.Table:
    def over(tables: Tables, parameters: Parameters) -> pa.Table:
        return code(tables["flights"])

    return ArrowEngine().transform(over, {"flights": FLIGHTS}, {}, subject="view 'delays', partition 2030-01-01")


def test_a_function_gets_its_tables_and_gives_one() -> None:
    assert run(lambda rows: rows.select(["delay"])).column_names == ["delay"]


@pytest.mark.parametrize(
    ("code", "found", "fix"),
    [
        pytest.param(lambda rows: rows["carier"], "KeyError", "did you mean 'carrier'?", id="column"),
        pytest.param(lambda rows: rows.select(["dellay"]), "KeyError", "did you mean 'delay'?", id="select"),
        pytest.param(lambda rows: {}["other"], "KeyError: 'other'", "use one of: carrier, delay", id="another key"),
        pytest.param(lambda rows: pc.add(rows["carrier"], 1), "ArrowNotImplementedError", "correct the function", id="arrow"),
        pytest.param(lambda rows: 1 / 0, "ZeroDivisionError", "correct the function", id="arithmetic"),
        pytest.param(lambda rows: None, "returned NoneType: expected pyarrow.Table", "return a pyarrow.Table", id="no return"),
        pytest.param(lambda rows: rows.to_pydict(), "returned dict", "return a pyarrow.Table", id="dict"),
    ],
)
def test_an_error_in_a_function_names_the_view_what_was_found_and_the_fix(code: Callable[[pa.Table], object], found: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        run(code)

    assert caught.value.message.startswith("view 'delays', partition 2030-01-01: ")
    assert found in caught.value.message
    assert fix in caught.value.fix


def test_the_cause_keeps_the_line_of_the_function() -> None:
    with pytest.raises(Invalid) as caught:
        run(lambda rows: 1 / 0)

    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_of_ours_passes_as_it_is() -> None:
    def missing(rows: pa.Table) -> pa.Table:
        raise NotFound("no such airport", fix="add it")

    with pytest.raises(NotFound, match="no such airport"):
        run(missing)
