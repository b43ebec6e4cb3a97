"""Commands of a Spark standalone cluster out of pyspark's own jars: a master, workers, and the environment that both need."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from tiffin.core.errors import NotFound
from tiffin.core.settings import inherited_environment

__all__ = ["environment_of", "jars", "master_command", "worker_command"]

# what spark-class gives every JVM (JavaModuleOptions); without it Arrow and the unsafe allocator fail
OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic"),
)
OPENED_JDK = ("jdk.internal.ref", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar")
JVM = (
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in (*OPENED, *OPENED_JDK)),
    "-Dio.netty.tryReflectionSetAccessible=true",
)


def jars() -> Path:
    """The folder of jars that pyspark brings. Raises NotFound without pyspark."""
    spec = find_spec("pyspark")  # not imported: that takes 0.5 s
    if spec is None or spec.origin is None:
        raise NotFound("pyspark is not installed", fix="install 'tiffin[spark]'")
    return Path(spec.origin).parent / "jars"


def environment_of(java_home: Path, *, host: str, path: str = "") -> dict[str, str]:
    """For a master, a worker, and whatever they start: nothing of the caller's environment but where things are.

    Args:
        path: PYTHONPATH of drivers and executors.
    """
    # a worker starts drivers and executors by Spark's launcher, which looks for this in a built checkout otherwise
    scala = next(jars().glob("spark-core_*.jar")).name.removeprefix("spark-core_").partition("-")[0]
    found = {"JAVA_HOME": str(java_home), "SPARK_HOME": str(jars().parent), "SPARK_LOCAL_IP": host, "SPARK_SCALA_VERSION": scala}
    found |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    return {**inherited_environment(), **found, **({"PYTHONPATH": path} if path else {})}


def master_command(java_home: Path, *, host: str, port: int, ui_port: int, rest_port: int | None = None) -> list[str]:
    """A master that listens on `host` alone; with a REST port it takes drivers in, for `remote_spark`."""
    rest = ["-Dspark.master.rest.enabled=false"]
    if rest_port is not None:
        rest = ["-Dspark.master.rest.enabled=true", f"-Dspark.master.rest.host={host}", f"-Dspark.master.rest.port={rest_port}"]
    name = "org.apache.spark.deploy.master.Master"
    return [*jvm(java_home, "512m"), *rest, name, "--host", host, "--port", str(port), "--webui-port", str(ui_port)]


def worker_command(java_home: Path, master: str, *, host: str, cores: int, memory: str, folder: Path, ui_port: int = 0) -> list[str]:
    """A worker of the master at `spark://host:port`; it ends when its master stays away.

    Args:
        memory: for its executors together, as Spark writes it: `2g`.
        folder: where its applications' files go.
    """
    size = ["--cores", str(cores), "--memory", memory, "--work-dir", str(folder)]
    name = "org.apache.spark.deploy.worker.Worker"
    return [*jvm(java_home, "512m"), name, "--host", host, "--webui-port", str(ui_port), *size, master]


def jvm(java_home: Path, heap: str) -> list[str]:
    """How a JVM of Spark's is started."""
    return [str(java_home / "bin" / "java"), "-cp", f"{jars()}/*", f"-Xmx{heap}", *JVM]
