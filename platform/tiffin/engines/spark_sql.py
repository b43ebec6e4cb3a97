"""Spark SQL from users: one SELECT that reads only what it is given and answers the same each time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pyspark.errors import ParseException
from pyspark.sql import DataFrame, SparkSession

from tiffin.core.errors import Invalid

__all__ = ["refuse_statements", "refuse_unsafe", "with_spark_parameters"]

LOGICAL, EXPRESSIONS = "org.apache.spark.sql.catalyst.plans.logical", "org.apache.spark.sql.catalyst.expressions"
STATEMENTS = (f"{LOGICAL}.Command", f"{LOGICAL}.ParsedStatement")
SUBQUERY = f"{EXPRESSIONS}.PlanExpression"
# programs, Java by name, and XML, whose documents can name files
UNSEEN = "UnresolvedExecuteImmediate"  # its statement is a string
REACHING = {"ScriptTransformation", "CallMethodViaReflection", "TryReflect"}
XML = f"{EXPRESSIONS}.xml."
# what answers by the clock, the user or the machine; chance is not deterministic in Spark's own words
CHANGING = re.compile(r"Current(?!Row$)\w+|Now|LocalTimestamp|InputFile\w+|SparkVersion")
SAMPLE = "Sample"
TOKENS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|--[^\n]*|/\*.*?\*/|\$[A-Za-z_][A-Za-z_0-9]*", re.DOTALL)


def with_spark_parameters(sql: str) -> tuple[str, set[str]]:
    """The text with `$start` as `:start`, and the names; a dollar in a string or a comment stays."""
    names: set[str] = set()

    def renamed(found: re.Match[str]) -> str:
        if not found[0].startswith("$"):
            return found[0]
        names.add(found[0][1:])
        return f":{found[0][1:]}"

    return TOKENS.sub(renamed, sql), names


def refuse_statements(spark: SparkSession, sql: str, *, subject: str) -> None:
    """Refuse what is not one query, before Spark sees it: a command runs as soon as it is analysed.

    Raises:
        Invalid: a statement that writes, sets or shows; or text that is no SQL.
    """
    try:
        plan = spark._jsparkSession.sessionState().sqlParser().parsePlan(sql)
    except ParseException as err:
        found = " ".join(str(err).split("SQLSTATE")[0].split())
        raise Invalid(f"{subject}: its SQL cannot be read: {found}", fix="write one SELECT, without a semicolon; Spark says where") from err
    kinds = [java_class(spark, name) for name in STATEMENTS]
    waiting = [plan]
    while waiting:
        node = waiting.pop()
        found = node.getClass().getSimpleName()
        if found == UNSEEN or any(kind.isInstance(node) for kind in kinds):
            raise Invalid(f"{subject}: its SQL is a {found} statement: expected a SELECT", fix="a view only reads: write one SELECT")
        waiting += listed(node.children())


def refuse_unsafe(spark: SparkSession, frame: DataFrame, *, subject: str) -> None:
    """Refuse an analysed query that reaches beyond its tables, or whose answer is not a function of them. Nothing is run.

    The plan is looked at and not the text: however a call is written, the plan has its class. Files by name
    (``from parquet.`/etc/passwd` ``) are off in the session's settings.

    Raises:
        Invalid: with what was found.
    """
    subquery = java_class(spark, SUBQUERY)
    plan = frame._jdf.queryExecution().analyzed()
    for node in nodes(plan, subquery):
        name = node.getClass().getName()
        simple = name.rpartition(".")[2]
        if simple in REACHING or name.startswith(XML):
            raise Invalid(f"{subject}: its SQL reaches beyond its tables: {simple}", fix="leave it out: a view reads only its tables")
        if name.startswith(EXPRESSIONS) and CHANGING.fullmatch(simple):
            raise Invalid(
                f"{subject}: its SQL has {simple}, whose answer is not a function of the rows", fix="use the parameters $start and $end"
            )
        if simple == SAMPLE or not node.deterministic():
            raise Invalid(
                f"{subject}: its SQL has {simple}, whose answer is not a function of the rows",
                fix="leave chance out: rand(), uuid(), sample",
            )


def nodes(plan: Any, subquery: Any) -> Iterator[Any]:
    """Expressions, then plans, from the leaves up: those of a plan, of its parts and of its subqueries."""
    for child in listed(plan.children()):
        yield from nodes(child, subquery)
    waiting = listed(plan.expressions())
    found = []
    while waiting:
        expression = waiting.pop()
        found.append(expression)
        if subquery.isInstance(expression):
            yield from nodes(expression.plan(), subquery)
        waiting += listed(expression.children())
    yield from reversed(found)
    yield plan


def listed(sequence: Any) -> list[Any]:
    """A Scala sequence."""
    return [sequence.apply(place) for place in range(sequence.size())]


def java_class(spark: SparkSession, name: str) -> Any:
    """A class of Spark's, to ask what is an instance of it."""
    jvm: Any = spark._jvm
    return jvm.java.lang.Class.forName(name)
