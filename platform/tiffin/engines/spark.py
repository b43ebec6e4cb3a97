"""Transforms on Spark: a function over DataFrames, or SQL. A year of windows is a few jobs of one JVM."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col, lit

from tiffin.core.errors import Invalid, PlatformError, nearest
from tiffin.engines.arrow import raised
from tiffin.engines.engine import Cut, Parameters, TableFiles, Tables
from tiffin.engines.spark_session import session
from tiffin.engines.spark_sql import refuse_statements, refuse_unsafe, with_spark_parameters

__all__ = ["SparkEngine", "SparkFunction"]

Frames = Mapping[str, DataFrame]
SparkFunction = Callable[[Frames, Parameters], DataFrame]

WINDOWS_PER_JOB = 32
PLACE = "__window"  # no name that a team may declare begins like this


class SparkEngine:
    """Spark on this machine. Rows go in as files or Arrow and come back as Arrow; whoever asked commits them.

    A window is one task: its rows are brought into one Spark partition, in the order of their time, so that
    nothing is shuffled and sums of floats have one order. What runs side by side are the windows.
    """

    def __init__(self) -> None:
        self.spark: SparkSession = session()
        self.allowed: set[str] = set()  # SQL that has been looked at: a year asks for the same text 365 times

    def transform(self, code: SparkFunction | str, tables: Tables, parameters: Parameters, *, subject: str) -> pa.Table:
        """Run a function of `(frames, parameters)`, or one SELECT with `$name` parameters; see `Engine.transform`."""
        frames = {name: self.spark.createDataFrame(table).coalesce(1) for name, table in tables.items()}
        with translated(subject, frames):
            plan = self.planned(code, frames, parameters, subject=subject)
        return arrow(plan, subject, frames)

    def transform_range(self, code: SparkFunction | str, files: Mapping[str, TableFiles], cuts: Sequence[Cut]) -> Iterator[pa.Table]:
        """See `RangeEngine.transform_range`. The files are read and sorted once and kept in memory meanwhile."""
        with translated(cuts[0].subject if cuts else "no window", {}):
            frames = {name: self.loaded(name, one) for name, one in files.items()}
        try:
            for first in range(0, len(cuts), WINDOWS_PER_JOB):
                yield from self.job(code, frames, files, cuts[first : first + WINDOWS_PER_JOB])
        finally:
            for frame in frames.values():
                frame.unpersist()

    def loaded(self, name: str, files: TableFiles) -> DataFrame:
        """A table's rows in the order of their time: a window then skips the blocks without rows of its own."""
        found = self.spark.read.parquet(*(str(path) for path in files.paths))
        kind = dict(found.dtypes).get(files.time)
        if kind != "timestamp":
            fix = nearest(files.time, found.columns) if kind is None else "land the source with instants: timestamp[us, tz=UTC]"
            raise Invalid(f"table {name!r}: its time {files.time!r} is {kind or 'no column'}: expected an instant", fix=fix)
        return found.where(col(files.time).isNotNull()).sort(files.time).persist(StorageLevel.MEMORY_AND_DISK)

    def job(self, code: SparkFunction | str, frames: Frames, files: Mapping[str, TableFiles], cuts: Sequence[Cut]) -> Iterator[pa.Table]:
        """Some windows as one job; when it fails, each by itself, so that the error names its window."""
        try:
            found = arrow(united([self.placed(place, code, frames, files, cut) for place, cut in enumerate(cuts)]), cuts[0].subject, frames)
        except Invalid:
            if len(cuts) == 1:
                raise
            for cut in cuts:
                yield from self.job(code, frames, files, [cut])
            return
        places = found[PLACE].to_numpy()
        rows = found.drop_columns([PLACE])
        for place in range(len(cuts)):
            yield rows.filter(pa.array(places == place))

    def placed(self, place: int, code: SparkFunction | str, frames: Frames, files: Mapping[str, TableFiles], cut: Cut) -> DataFrame:
        """One window's plan, its rows marked by its place in the job."""
        given = {name: between(frame, files[name].time, *cut.bounds[name]) for name, frame in frames.items()}
        with translated(cut.subject, frames):
            return self.planned(code, given, cut.parameters, subject=cut.subject).select("*", lit(place).alias(PLACE))

    def planned(self, code: SparkFunction | str, frames: Frames, parameters: Parameters, *, subject: str) -> DataFrame:
        """What the code makes of the frames, not yet run."""
        if isinstance(code, str):
            return self.queried(code, frames, parameters, subject=subject)
        try:
            found = code(frames, parameters)
        except (PlatformError, PySparkException):
            raise
        except Exception as err:
            raise raised(err, [name for frame in frames.values() for name in frame.columns], subject=subject) from err
        if not isinstance(found, DataFrame):
            raise Invalid(
                f"{subject}: its function returned {type(found).__name__}: expected pyspark.sql.DataFrame",
                fix="return a DataFrame, e.g. rows.groupBy('carrier').agg(...); it is run for you",
            )
        return found

    def queried(self, sql: str, frames: Frames, parameters: Parameters, *, subject: str) -> DataFrame:
        """One SELECT over the frames and nothing else."""
        text, named = with_spark_parameters(sql)
        for name in sorted(named - set(parameters)):
            raise Invalid(f"{subject}: its SQL has a parameter ${name}, which is not given", fix=nearest(name, parameters))
        new = sql not in self.allowed
        if new:
            refuse_statements(self.spark, text, subject=subject)
        for name, frame in frames.items():
            frame.createOrReplaceTempView(name)
        try:
            found = self.spark.sql(text, args={name: lit(parameters[name]) for name in named})
        finally:
            for name in frames:
                self.spark.catalog.dropTempView(name)
        if new:
            refuse_unsafe(self.spark, found, subject=subject)
            self.allowed.add(sql)
        return found


def between(frame: DataFrame, time: str, start: datetime | None, end: datetime) -> DataFrame:
    """Rows with `start <= time < end` in one partition."""
    known = col(time) < lit(end)
    return frame.where(known if start is None else (col(time) >= lit(start)) & known).coalesce(1)


def united(plans: Sequence[DataFrame]) -> DataFrame:
    """All rows; halves of halves, because a long chain of unions is analysed again and again."""
    if len(plans) == 1:
        return plans[0]
    half = len(plans) // 2
    return united(plans[:half]).unionByName(united(plans[half:]))


def arrow(plan: DataFrame, subject: str, frames: Frames) -> pa.Table:
    """Run it."""
    with translated(subject, frames):
        found: pa.Table = plan.toArrow()
    return found


@contextmanager
def translated(subject: str, frames: Frames) -> Iterator[None]:
    """Spark's errors, with the nearest name when it looked for one."""
    try:
        yield
    except PySparkException as err:
        # behind the first sentence come the query's plan and pages of Java
        text = re.split(r"SQLSTATE|;\n|\n\n|\n\s+at |JVM stacktrace|Verify the spelling|Did you mean|If necessary set", str(err))[0]
        text = re.sub(r"^\s*\[[A-Z_.]+\]\s*", "", text).strip(" \n;.")
        raise Invalid(f"{subject}: Spark refused it: {' '.join(text.split())}", fix=hint(err, frames)) from err


def hint(err: PySparkException, frames: Frames) -> str:
    """What to do about a Spark error."""
    condition, found = err.getCondition() or "", err.getMessageParameters() or {}
    if condition.startswith("UNRESOLVED_COLUMN"):
        wanted = found.get("objectName", "").split(".")[-1].strip("`")
        return nearest(wanted, [name for frame in frames.values() for name in frame.columns])
    if condition.startswith("TABLE_OR_VIEW_NOT_FOUND"):
        return nearest(found.get("relationName", "").strip("`"), frames)
    if condition.startswith("UNRESOLVED_ROUTINE"):
        return "use a function that Spark has; its names are not always DuckDB's"
    if condition == "DIVIDE_BY_ZERO":
        return "use try_divide(a, b), or nullif(b, 0): division by zero is an error on Spark"
    kind = "the query" if isinstance(err, AnalysisException) else "the transform"
    return f"correct {kind}; the cause below has Spark's whole answer"
