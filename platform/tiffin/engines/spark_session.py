"""The one Spark session of a process: started when it is first needed, kept until the process ends."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading

from pyspark import SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from tiffin.core.errors import Invalid, NotReady
from tiffin.core.settings import Settings, with_variables
from tiffin.engines.java import find_java

__all__ = ["NAME", "session"]

NAME = "tiffin"
LOOPBACK = "127.0.0.1"
SETTINGS = {
    "spark.app.name": NAME,
    "spark.driver.host": LOOPBACK,
    "spark.driver.bindAddress": LOOPBACK,
    "spark.driver.memory": "2g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.sql.session.timeZone": "UTC",
    # one task computes one window, see SparkEngine: what it still shuffles is small
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    # each window has its own constants, and so its own Java: compiling it took longer than running it (157 s and 35 s a year)
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.parquet.compression.codec": "zstd",  # Snappy's library fails where musl is installed
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",  # as in DuckDB
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.runSQLOnFiles": "false",  # no "from parquet.`/etc/passwd`"
    "spark.sql.execution.arrow.maxRecordsPerBatch": "100000",
}

# pyspark logs every error that it raises, with pages of Java; we raise it again with its cause
LOUD = ("SQLQueryContextLogger", "DataFrameQueryContextLogger")
starting = threading.Lock()


def session() -> SparkSession:
    """A session with temporary views of its own on this process's Spark; the first call starts a JVM (3 to 20 s).

    Raises:
        NotFound: no Java. NotReady: it did not start.
        Invalid: the process has a Spark that somebody else configured.
    """
    with starting:
        running = SparkContext._active_spark_context
        if running is not None and running.appName != NAME:
            raise Invalid(
                f"this process already runs Spark as {running.appName!r}, with settings of its own",
                fix="take the session from the rows: rows.sparkSession",
            )
        if running is not None:
            return SparkSession(running).newSession()
        for logger in LOUD:
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        settings = Settings.from_environment()
        home = find_java(settings.cache)
        builder = SparkSession.builder.master(f"local[{len(os.sched_getaffinity(0))}]")
        for name, value in {**SETTINGS, **folders()}.items():
            builder = builder.config(name, value)
        with with_variables({"JAVA_HOME": str(home), "SPARK_LOCAL_IP": LOOPBACK, "PYSPARK_PYTHON": sys.executable}):
            try:
                return builder.getOrCreate().newSession()
            except PySparkRuntimeError as err:
                raise NotReady(
                    f"Spark did not start with the Java in {home}: {err}", fix="run that java -version; free some memory"
                ) from err


def folders() -> dict[str, str]:
    """Where Spark may write; gone with the machine's temporary files."""
    scratch = tempfile.mkdtemp(prefix="tiffin-spark-")
    return {"spark.local.dir": scratch, "spark.sql.warehouse.dir": f"{scratch}/warehouse"}
