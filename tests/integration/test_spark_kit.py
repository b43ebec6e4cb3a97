"""The engine kit over Spark, on a real JVM: SQL and functions over DataFrames."""

from __future__ import annotations

import numpy as np
import pytest

from tiffin.core.errors import Invalid
from tiffin.engines.engine import find_engine
from tiffin.testing.engine import RULES, Code, Subject, generated_cases, landings


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("code", ["sql", "spark"])
def test_spark_obeys(code: Code, rule: str) -> None:
    subject = Subject(find_engine("spark"), code)
    for case in generated_cases(seed=11):
        RULES[rule](subject, case, 11)


# what only Spark's dialect has
HOSTILE = {
    "a file": "select * from parquet.`/etc/hostname`",
    "a file in a subquery": "select (select max(value) from text.`/etc/hostname`) as x",
    "Java, in another spelling": "select/* /* */ ' */ java_method('java.lang.System', 'getenv', 'HOME') -- '\n as x",
    "Java, and no error": "select try_reflect('java.lang.Runtime', 'getRuntime') as x",
    "XML": "select xpath_string('<a/>', 'a') as x",
    "an insert behind WITH": "with t as (select 1) insert into x select * from t",
    "a script": "begin select 1; end",
    "a table of tables": "show tables",
    "cached rows": "cache table landings",
    "the user": "select current_user() as x",
    "the file of a row": "select input_file_name() as x from landings",
    "a sample": "select * from landings tablesample (50 percent)",
    "the place of a row": "select monotonically_increasing_id() as x from landings",
}


@pytest.mark.parametrize("sql", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_reaches_beyond_its_tables_is_refused(sql: str) -> None:
    rows = landings(np.random.default_rng(1), 10, ["AA"])

    with pytest.raises(Invalid, match=r"^the view: "):
        find_engine("spark").transform(sql, {"landings": rows}, {}, subject="the view")
