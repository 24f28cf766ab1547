"""Top-n in Spark: CPU of `recommendForAllUsers` over that of our exact top-n on the same factors, ratios of one run.

    uv run --extra spark python tests/benchmarks/spark_topn.py [users] [items]

Both give every user's best 100 items to a sink that drops them. CPU seconds are of the driver's JVM and of all
processes that it started, so of Python workers too; each side runs once on a twentieth of the users before it is
measured, so that neither pays for compilers and imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import DataFrame

from recsys.config import SparkSettings
from recsys.engines._spark._arrow import collect, in_pieces, map_batches, to_batches, to_matrix, to_table
from recsys.engines.spark import open_session
from recsys.factors import Factors

FACTORS, N = 64, 100
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class BestItems:
    """Users' factors -> their best items, by the exact top-n of `recsys.factors`."""

    ids: NDArray[np.int32]
    items: NDArray[np.float32]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rank for some users at a time."""
        for piece in in_pieces(batches, 8192):
            best = Factors(to_matrix(piece["features"], FACTORS), self.items).top_n(N, threads=1)
            found = pl.DataFrame(
                {"user": piece["id"].gather(best.users), "item": self.ids[best.items], "score": best.scores}
            )
            yield from to_batches(found)


def cpu_seconds(root: int) -> float:
    """Sum the CPU time of a process, of those that it started, and of those of them that ended."""
    parents, spent = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        process = int(stat.parent.name)
        parents[process], spent[process] = int(fields[1]), sum(map(int, fields[11:15]))

    def below(process: int) -> bool:
        return process == root or (process in parents and below(parents[process]))

    return sum(ticks for process, ticks in spent.items() if below(process)) / TICKS


def measure(work: Callable[[], object]) -> float:
    """Give the CPU seconds of the JVM and what it started."""
    java = next(
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if "(java)" in stat.read_text() and descends(int(stat.parent.name), os.getpid())
    )
    before = cpu_seconds(java)
    work()
    return cpu_seconds(java) - before


def descends(process: int, root: int) -> bool:
    """Say whether a process was started by another, or by one of its own."""
    while process > 1:
        if process == root:
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return False


def drop(rows: DataFrame) -> None:
    """Compute every row and keep none."""
    rows.write.format("noop").mode("overwrite").save()


def ours(model: ALSModel, users: DataFrame) -> DataFrame:
    """Rank by the library's top-n, the items' factors in every task."""
    told = collect(model.itemFactors)
    best = BestItems(told["id"].to_numpy(), to_matrix(told["features"], FACTORS))
    return map_batches(users, best, {"user": "int", "item": "int", "score": "float"})


def main(n_users: int = 20_000, n_items: int = 5_000) -> None:
    """Fit factors on interactions at random, and rank with both."""
    session = open_session(SparkSettings(master="local[2]", options={"spark.sql.shuffle.partitions": "4"}))
    rng = np.random.default_rng(0)
    rows = {"user": rng.integers(0, n_users, 10 * n_users), "item": rng.zipf(1.3, 10 * n_users) % n_items}
    frame = pl.DataFrame(rows).cast(pl.Int32).unique().with_columns(r=pl.lit(1.0, pl.Float32))
    als = ALS(
        userCol="user", itemCol="item", ratingCol="r", rank=FACTORS, maxIter=1, implicitPrefs=True, seed=0
    )
    model = als.fit(session.createDataFrame(to_table(frame)))
    users = model.userFactors.persist()
    few = users.filter(f"id < {n_users // 20}")
    drop(ours(model, few))
    drop(model.recommendForUserSubset(few.select(users["id"].alias("user")), N))
    mine = measure(lambda: drop(ours(model, users)))
    theirs = measure(lambda: drop(model.recommendForAllUsers(N)))
    print(
        f"{n_users:,} users, {n_items:,} items, {FACTORS} factors, top {N}: recommendForAllUsers {theirs:.1f} CPU s, "
        f"ours {mine:.1f} CPU s, {mine / theirs:.3f} of it"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
