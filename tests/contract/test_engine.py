"""The engine kit: ours that need no JVM pass (Spark's turn is in integration), and broken ones do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tiffin.engines.arrow import ArrowEngine
from tiffin.engines.duckdb import CONFIG, DuckEngine
from tiffin.engines.engine import find_engine
from tiffin.features.source_rows import SourceRows
from tiffin.testing.engine import INSTANT, RULES, START, Case, Code, Subject, check_engine, generated_cases, main


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("name", "code"), [("arrow", "arrow"), ("duckdb", "sql")])
def test_ours_obey(name: str, code: Code, rule: str) -> None:
    for case in generated_cases(seed=11):
        RULES[rule](Subject(find_engine(name), code), case, 11)


def rows(*minutes: int) -> pa.Table:
    times = pa.array([START + timedelta(hours=place) for place in range(len(minutes))], INSTANT)
    return pa.table({"carrier": ["AA"] * len(minutes), "minutes": pa.array(minutes, pa.int64()), "landed_at": times})


def test_a_case_from_a_folder_is_checked_too(tmp_path: Path) -> None:
    pq.write_table(rows(3, 2_000, -4), tmp_path / "theirs.parquet")

    class Forgets(ArrowEngine):
        """Right as long as no delay reaches a thousand minutes."""

        def transform(self, code: Any, tables: Any, parameters: Any, *, subject: str) -> pa.Table:
            found = super().transform(code, tables, parameters, subject=subject)
            return found.filter(pc.less(pc.fill_null(found["worst"], 0), 1000)) if "worst" in found.column_names else found

    problems = check_engine(Forgets(), "arrow", seed=1, cases=tmp_path)

    assert [problem.split(":")[0] for problem in problems] == ["theirs"] * len(problems)
    assert any(problem.startswith("theirs: gives what the definition says") for problem in problems)


def test_the_command_line_counts_the_broken_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(rows(5), tmp_path / "one.parquet")

    assert main(["duckdb", "--seed", "2", "--cases", str(tmp_path)]) == 0
    assert main(["arrow", "--seed", "2"]) == 1
    assert "arrow (sql): " in capsys.readouterr().out


class DropsRows(ArrowEngine):
    def transform(self, code: Any, tables: Any, parameters: Any, *, subject: str) -> pa.Table:
        return super().transform(code, {name: table.slice(1) for name, table in tables.items()}, parameters, subject=subject)


class Remembers(ArrowEngine):
    turns = 0

    def transform(self, code: Any, tables: Any, parameters: Any, *, subject: str) -> pa.Table:
        self.turns += 1
        found = super().transform(code, tables, parameters, subject=subject)
        return found.slice(self.turns % 2)


class Silent(ArrowEngine):
    def transform(self, code: Any, tables: Any, parameters: Any, *, subject: str) -> pa.Table:
        return super().transform(code, tables, parameters, subject="code")


class Unlocked(DuckEngine):
    def __init__(self) -> None:
        import duckdb

        super().__init__()
        self.connection = duckdb.connect(":memory:", config={**CONFIG, "enable_external_access": "true"})


class ReadsOneMore(ArrowEngine):
    def transform_range(self, code: Any, files: Any, cuts: Any) -> Iterator[pa.Table]:
        read = SourceRows(pa.concat_tables(pq.read_table(path) for path in files["landings"].paths), "landed_at")
        for cut in cuts:
            later = cut.bounds["landings"][1] + timedelta(days=1)
            told = {**cut.parameters, "end": later}
            yield self.transform(
                code, {"landings": read.between(datetime.min.replace(tzinfo=later.tzinfo), later)}, told, subject=cut.subject
            )


@pytest.mark.parametrize(
    ("make", "code", "rule"),
    [
        pytest.param(DropsRows, "arrow", "gives what the definition says", id="drops rows"),
        pytest.param(Remembers, "arrow", "repeats itself and leaves its rows alone", id="remembers"),
        pytest.param(Silent, "arrow", "names subject and nearest column", id="silent"),
        pytest.param(Unlocked, "sql", "refuses what is no query of its tables", id="unlocked"),
        pytest.param(ReadsOneMore, "arrow", "reads files as it reads rows", id="reads one more"),
    ],
)
def test_a_broken_engine_breaks_its_rule(make: Callable[[], Any], code: Code, rule: str) -> None:
    problems = check_engine(make(), code, seed=3)

    assert any(f": {rule}: " in problem for problem in problems), problems
    assert isinstance(next(generated_cases(3)), Case)
