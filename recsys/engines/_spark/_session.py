"""The session that is open, or a new one that keeps quiet."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import TemporaryFile

from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from recsys.config import SparkSettings
from recsys.engines import check_java
from recsys.engines._spark._failures import first_line
from recsys.errors import ConfigError

_LOGGING = Path(__file__).with_name("log4j2.properties")
#: A third of a short job's CPU went to Java's second compiler: it now waits until code was called 50 times as often
#: as is usual, which what a long job lives on still is within seconds.
_COMPILE_LATE = {
    "Tier4InvocationThreshold": 250_000,
    "Tier4MinInvocationThreshold": 30_000,
    "Tier4CompileThreshold": 750_000,
    "Tier4BackEdgeThreshold": 2_000_000,
}
_JAVA = (
    f"-Dlog4j2.configurationFile={_LOGGING.as_uri()}",
    # Other machines than HotSpot have other compilers.
    "-XX:+IgnoreUnrecognizedVMOptions",
    *(f"-XX:{name}={count}" for name, count in _COMPILE_LATE.items()),
)
_QUIET = {"spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
#: On this machine nobody else is to reach the driver, nor needs to.
_ALONE = {
    "spark.driver.extraJavaOptions": " ".join(_JAVA),
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    # Spark's own 200 are for clusters: here each is a task that waits for a core.
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
    # To plan anew at each shuffle, and run its job apart, costs more than what it could find among so few tasks.
    "spark.sql.adaptive.enabled": "false",
}
#: Seconds until a server of Spark Connect answers.
_PATIENCE = 10


def open_session(settings: SparkSettings | None = None) -> SparkSession:
    """Use the session that is open, or else open the one that the settings describe.

    Parameters
    ----------
    settings : SparkSettings, optional
        `master` and `options` of a new one.

    Returns
    -------
    pyspark.sql.SparkSession
        Classic, or of Spark Connect.

    Raises
    ------
    ConfigError
        When Java is missing or too old, or Spark does not start.

    """
    opened = _open_already()
    return _start(settings or SparkSettings()) if opened is None else opened


def _open_already() -> SparkSession | None:
    try:
        return SparkSession.active()
    except PySparkException:
        return None


def _start(settings: SparkSettings) -> SparkSession:
    start = _connect if settings.master.startswith("sc://") else _start_java
    try:
        return start(settings)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"Spark does not start on spark.master = {settings.master!r}: {first_line(error)}"
        ) from None


def _connect(settings: SparkSettings) -> SparkSession:
    _require_answer(settings.master)
    return _named().remote(settings.master).config(map={**settings.options}).getOrCreate()


def _require_answer(master: str) -> None:
    """Wait a little for the server: Spark itself asks it again and again, for ten minutes."""
    # It needs pyspark[connect], as the session does.
    import grpc
    from pyspark.sql.connect.client import DefaultChannelBuilder

    server = DefaultChannelBuilder(master)
    channel = server.toChannel()
    try:
        grpc.channel_ready_future(channel).result(timeout=_PATIENCE)
    except grpc.FutureTimeoutError:
        raise ConfigError(
            f"no Spark Connect server answers at {server.endpoint} within {_PATIENCE} seconds: start it, or "
            "correct spark.master"
        ) from None
    finally:
        channel.close()


def _start_java(settings: SparkSettings) -> SparkSession:
    check_java()
    alone = settings.master.startswith("local")
    options = _QUIET | (_ALONE if alone else {}) | settings.options
    if alone:
        # Workers of this machine run what the driver runs, not whatever python3 comes first.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        _launch_quietly(SparkConf().setMaster(settings.master).setAll(list(options.items())))
    return _named().master(settings.master).config(map={**options}).getOrCreate()


def _named() -> SparkSession.Builder:
    return SparkSession.builder.appName("recsys")


def _launch_quietly(conf: SparkConf) -> None:
    """Start Java without its remarks: what fails on one machine comes back as an exception, but for the start."""
    with TemporaryFile() as remarks:
        try:
            gateway = launch_gateway(conf, {"stdout": remarks, "stderr": remarks})  # type: ignore[no-untyped-call]
        except PySparkException as error:
            remarks.seek(0)
            said = remarks.read().decode(errors="replace").strip()
            raise RuntimeError(said or str(error)) from None
    SparkContext(conf=conf.setAppName("recsys"), gateway=gateway)
