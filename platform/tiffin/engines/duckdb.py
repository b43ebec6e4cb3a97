"""User SQL in a locked-down DuckDB: one SELECT over the tables that it is given, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from tiffin.core.errors import Invalid, nearest
from tiffin.engines.engine import Parameters, Tables

__all__ = ["DuckEngine", "run_sql"]

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
    "threads": "1",  # sums of floats have one order
    "memory_limit": "4GB",
    "temp_directory": "",
}
LOCK = ("SET TimeZone = 'UTC'", "SET default_null_order = 'nulls_last'", "SET lock_configuration = true")
# functions that answer by the clock, by chance or by the machine: the same window must give the same rows
UNSTABLE = {
    *("now", "today", "current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
    *("get_current_time", "get_current_timestamp", "transaction_timestamp"),
    *("random", "setseed", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "nextval", "currval", "txid_current"),
    *("current_setting", "getenv", "write_log", "query", "query_table", "json_execute_serialized_sql"),
}
MEANT = re.compile(r'Did you mean "([^"]+)"')
MISSING_COLUMN = re.compile(r'Referenced column "([^"]+)" not found|does not have a column named "([^"]+)"')
MISSING_TABLE = re.compile(r"Table with name (\S+) does not exist")
WORDS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/|[A-Za-z_][A-Za-z_0-9]*\s*\(?", re.DOTALL)


class DuckEngine:
    """One in-memory database without files, network, extensions or settings to change.

    Not thread-safe: use one per thread.
    """

    def __init__(self) -> None:
        self.connection = duckdb.connect(":memory:", config=CONFIG)
        self.judged: dict[str, frozenset[str]] = {}  # a year's windows run one text: it is parsed and judged once
        for statement in LOCK:
            self.connection.execute(statement)

    def transform(self, code: str, tables: Tables, parameters: Parameters, *, subject: str) -> pa.Table:
        """Run one SELECT; `$name` is a parameter; times come back as timestamp[us], with a zone where they have one.

        See `Engine.transform`.
        """
        if code not in self.judged:
            with translated(subject, tables):
                self.judged[code] = frozenset(one_select(self.connection, code, subject).named_parameters)
        named = self.judged[code]
        for name in sorted(named - set(parameters)):
            raise Invalid(f"{subject}: its SQL has a parameter ${name}, which is not given", fix=nearest(name, parameters))
        for name, table in tables.items():
            self.connection.register(name, table)
        try:
            with translated(subject, tables):
                found = self.connection.sql(code, params={name: parameters[name] for name in named})
                return found.to_arrow_table()
        finally:
            for name in tables:
                self.connection.unregister(name)


def run_sql(sql: str, tables: Tables, parameters: Parameters | None = None, *, subject: str = "the query") -> pa.Table:
    """Run one SELECT in a fresh engine; for many runs keep a `DuckEngine`."""
    return DuckEngine().transform(sql, tables, parameters or {}, subject=subject)


def one_select(connection: duckdb.DuckDBPyConnection, sql: str, subject: str) -> duckdb.Statement:
    """The parsed statement, when it is one SELECT that is a function of its inputs."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise Invalid(
            f"{subject}: its SQL has {len(statements)} statements: expected one SELECT", fix="keep one SELECT; use WITH for steps"
        )
    if statements[0].type != duckdb.StatementType.SELECT:
        found = statements[0].type.name
        raise Invalid(f"{subject}: its SQL is a {found} statement: expected a SELECT", fix="a view only reads: write one SELECT")
    for word in WORDS.findall(sql):
        name = word.rstrip("( \t\n").lower()
        called = word.endswith("(") or name.startswith(("current_", "local"))
        if called and name in UNSTABLE:
            raise Invalid(
                f"{subject}: its SQL calls {name}(), whose answer is not a function of the rows",
                fix="use the parameters $start and $end for times; leave out chance and settings",
            )
    return statements[0]


@contextmanager
def translated(subject: str, tables: Tables) -> Iterator[None]:
    """DuckDB's errors, with the nearest name when it looked for one."""
    try:
        yield
    except duckdb.Error as err:
        # the candidates of an operator fill a page; the caret of LINE needs its own line
        text = re.split(r"\n\s*\n|\s*LINE \d|\s*Candidate functions", str(err))[0]
        raise Invalid(f"{subject}: its SQL failed: {' '.join(text.split())}", fix=hint(str(err), tables)) from err


def hint(text: str, tables: Tables) -> str:
    """What to do about a DuckDB message."""
    if "disabled by configuration" in text or "disabled through configuration" in text:
        return (
            f"a view reads only its source, as table {' or '.join(repr(name) for name in tables)}: leave files, network and extensions out"
        )
    if "configuration has been locked" in text:
        return "settings are fixed: leave SET out"
    if table := MISSING_TABLE.search(text):
        return nearest(table[1].strip("\"'!"), tables)
    if column := MISSING_COLUMN.search(text):
        return nearest(column[1] or column[2], [name for table in tables.values() for name in table.column_names])
    meant = MEANT.search(text)
    return f"did you mean {meant[1]!r}?" if meant is not None else "correct the SQL; DuckDB's message says where"
