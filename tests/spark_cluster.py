"""Two workers that share nothing with the driver, as on a cluster: `python spark_cluster.py FOLDER`.

They hold the engine's contract and read a hostile log; then one of them is killed while it writes a ranking.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import polars as pl
from pyspark.sql import SparkSession
from spark_logs import hold_everyone
from test_spark import TestSparkEngine, test_a_hostile_log_is_read_as_on_one_machine

from recsys import store
from recsys.config import ModelSettings, SparkSettings
from recsys.engines.spark import Order, SparkEngine, open_session, rank_everyone
from recsys.events import read_events
from recsys.features import Snapshots
from recsys.model import Wanted

OPTIONS = {
    "spark.sql.shuffle.partitions": "3",
    "spark.default.parallelism": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC",
}


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


class Deadly(store.PartWriter):
    """The first to write leaves half of it, and takes its executor down."""

    def __call__(self, frames: Iterator[pl.DataFrame]) -> store.Part | None:
        killed, first = Path(self.folder).parents[3] / "killed", next(frames, None)
        if first is None:
            return None
        try:
            killed.touch(exist_ok=False)
        except FileExistsError:
            return super().__call__(chain([first], frames))
        first.write_parquet(Path(self.folder) / "half.parquet")
        # This worker, the daemon that forks workers, the executor.
        executor = parent_of(os.getppid())
        killed.write_text(str(executor))
        os.kill(executor, signal.SIGKILL)
        return super().__call__(frames)


def hold_the_contract(session: SparkSession, folder: Path) -> None:
    TestSparkEngine().test_held_out_likes_rank_far_above_popularity(SparkEngine(), 0)
    test_a_hostile_log_is_read_as_on_one_machine(session, folder, "typed_case", 6)
    (folder / "held").write_text(session.sparkContext.master)


def publish_beside_a_kill(session: SparkSession, folder: Path) -> None:
    log, settings = (
        read_events(pl.read_parquet(folder / "log.parquet")),
        ModelSettings(factors=4, iterations=1),
    )
    whole = Snapshots(log, settings, 1).at(log.as_of, ())
    everyone = hold_everyone(log, whole, settings, session)
    order = Order(None, Wanted(5, (10,), None), "none", log.as_of.date(), "some")
    with store.open_run(folder / "out", keep=1) as run:
        parts = rank_everyone(everyone, order, Deadly(str(run.open_parts("predictions"))))
        run.keep_parts("predictions", [store.Part(**part) for part in parts])
        run.publish({f"predictions/as_of={log.as_of.date()}": "predictions"}, {})
    (folder / "rows").write_text(str(sum(part["rows"] for part in parts)))


def main(folder: Path) -> None:
    session = open_session(SparkSettings(master="local-cluster[2,1,2048]", options=OPTIONS))
    for work in (hold_the_contract, publish_beside_a_kill):
        work(session, folder)
    session.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
