"""Run the whole job on two executors, one of which is killed while it writes: `python spark_kill.py FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from recsys import store
from recsys.config import EventsSettings, ModelSettings, OutputSettings, Settings, SparkSettings
from recsys.pipeline import Job, run

OPTIONS = {
    "spark.sql.shuffle.partitions": "3",
    "spark.default.parallelism": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.driver.memory": "512m",
    "spark.executor.memory": "512m",
}


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


class Deadly(store.PartWriter):
    """The first to write leaves half of it, and takes its executor down."""

    def __call__(self, frames: Iterator[pl.DataFrame]) -> store.Part | None:
        killed = Path(self.folder).parents[3] / "killed"
        try:
            killed.touch(exist_ok=False)
        except FileExistsError:
            return super().__call__(frames)
        next(frames).write_parquet(Path(self.folder) / "half.parquet")
        # This worker, the daemon that forks workers, the executor.
        executor = parent_of(os.getppid())
        killed.write_text(str(executor))
        os.kill(executor, signal.SIGKILL)
        return super().__call__(frames)


def main(folder: Path) -> None:
    store.PartWriter = Deadly  # type: ignore[misc]
    settings = Settings(
        events=EventsSettings(path=str(folder / "log.parquet")),
        model=ModelSettings(engine="spark", factors=4, iterations=1, cuts=1),
        spark=SparkSettings(master="local-cluster[2,1,1024]", options=OPTIONS),
        output=OutputSettings(path=str(folder / "out"), top_n=5),
    )
    result = run(Job("run", settings, threads=1))
    print(result.predictions)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
