"""What each pod of a Spark gang runs: `python -m tiffin.orchestration.gang_entry tests.cluster_spark_gang:part`."""

from __future__ import annotations

import json
import os

from tiffin.core.gang import Gang
from tiffin.engines.spark_gang import spark_driver, spark_worker

SETTINGS = {"spark.driver.memory": "512m", "spark.executor.memory": "512m", "spark.log.level": "ERROR", "spark.sql.shuffle.partitions": "2"}


def part(gang: Gang) -> None:
    """Rank 0 sums on the other ranks' executors and tells which processes did it; the others lend theirs."""
    if not gang.first:
        spark_worker(gang, cores=1, memory="600m")
        return
    with spark_driver(gang, settings=SETTINGS) as spark:
        pids = spark.sparkContext.parallelize(range(4), 4).map(lambda _: os.getppid()).distinct().collect()
        total = spark.range(1000).selectExpr("sum(id) as total").collect()[0]["total"]
        print(json.dumps({"total": total, "master": spark.sparkContext.master, "executors": len(pids), "own": os.getpid()}), flush=True)
