"""The engine spark: what was known before a cut, and who is recommended what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from snapshots import require_equal

pyspark = pytest.importorskip("pyspark", reason="needs the extra spark")

from pyspark.sql import DataFrame, SparkSession  # noqa: E402

from recsys.config import ModelSettings, WindowsSettings  # noqa: E402
from recsys.engines.spark import (  # noqa: E402
    Order,
    Records,
    SparkFactors,
    SparkLog,
    SparkSnapshots,
    collect,
    rank_everyone,
    to_table,
)
from recsys.events import EventLog  # noqa: E402
from recsys.features import Snapshot, Snapshots, spawn_seed  # noqa: E402
from recsys.model import Wanted, WillLikeModel, fit_model  # noqa: E402
from recsys.schema import EXPOSED, ITEM, LIKED, USER  # noqa: E402
from recsys.split import split_by_time  # noqa: E402
from recsys.store import PartWriter  # noqa: E402


def in_spark(log: EventLog, spark: SparkSession) -> SparkLog:
    """Hand a log to Spark, its rows in no order."""
    rows = log.shown.sample(fraction=1, shuffle=True, seed=1)
    return SparkLog(
        rows=spark.createDataFrame(to_table(rows)).repartition(3),
        refused=log.refused,
        as_of=log.as_of,
        signals=log.signals,
        outcomes=log.outcomes,
        positives_only=log.positives_only,
        counts=log.counts,
        settle=log.settle,
        negatives_kept=log.negatives_kept,
    )


def given(whole: Snapshot, records: Records, settings: ModelSettings) -> Callable[..., SparkFactors]:
    """Factorise as the local engine did: who is asked for which signal shows in the seed."""
    names = (EXPOSED, *whole.outcomes[1:], LIKED)
    signals = {spawn_seed(settings.seed, order): name for order, name in enumerate(names)}
    numbers = collect(records.table.select("number", USER))

    def factorise(rows: DataFrame, settings: ModelSettings, seed: int) -> SparkFactors:
        factors, users = whole.factors[signals[seed]], whole.entities[USER].index.codes(numbers[USER])
        known = users >= 0
        items = records.indices[ITEM].codes(whole.entities[ITEM].index.ids)
        sides = [
            told(numbers["number"].filter(pl.Series(known)), factors.user_factors[users[known]]),
            told(pl.Series(items), factors.item_factors),
        ]
        return SparkFactors(*(rows.sparkSession.createDataFrame(to_table(side)) for side in sides))

    return factorise


def told(ids: pl.Series, rows: NDArray[np.float32]) -> pl.DataFrame:
    return pl.DataFrame({"id": ids, "features": pl.Series(rows.tolist(), dtype=pl.List(pl.Float32))})


@pytest.fixture(scope="module")
def whole(log: EventLog, small: ModelSettings, day: Callable[[float], datetime]) -> Snapshot:
    return Snapshots(log, small, 1).at(day(8))


@pytest.fixture(scope="module")
def snapshots(log: EventLog, spark: SparkSession, small: ModelSettings, whole: Snapshot) -> SparkSnapshots:
    """Hold everyone in Spark, and as the sample; factors are those of the local engine."""
    held = in_spark(log, spark)
    records = Records.of(held)
    return SparkSnapshots(held.take_users(1.0, 0), small, 1, records, 1.0, given(whole, records, small))


def test_a_snapshot_of_spark_is_that_of_one_machine(snapshots: SparkSnapshots, whole: Snapshot) -> None:
    found = snapshots.at(whole.cut)
    assert len(found.entities[USER].index) == len(whole.entities[USER].index)
    require_equal(found, whole)


def test_everyone_is_ranked_as_on_one_machine(
    log: EventLog, snapshots: SparkSnapshots, whole: Snapshot, small: ModelSettings, tmp_path: Path
) -> None:
    windows = split_by_time(WindowsSettings(test=timedelta(days=2)), whole.cut)
    head = fit_model(Snapshots(log, small, 1), windows.calibrate, windows.test.cut).head
    wanted, day = Wanted(7, (10,), None), date(2026, 1, 8)
    order = Order(head, wanted, "seen", day, "some")
    parts = rank_everyone(snapshots.everyone(whole.cut, whole.outcomes[1:]), order, PartWriter(str(tmp_path)))
    found = pl.concat(pl.read_parquet(tmp_path / part["file"]) for part in parts).sort(USER, "rank")
    assert [part["rows"] for part in parts] == [
        len(pl.read_parquet(tmp_path / part["file"])) for part in parts
    ]
    ours, theirs = (WillLikeModel(one, head, log, 1) for one in (snapshots.at(whole.cut), whole))
    expected = ours.recommend(n=7, candidates=10, exclude=log.shown)
    assert found.drop("as_of", "model_version").equals(expected)
    assert found.select("as_of", "model_version").unique().rows() == [(day, "some")]
    local = theirs.recommend(n=7, candidates=10, exclude=log.shown)
    both = found.join(local, on=[USER, ITEM])
    assert len(both) > 0.99 * len(found)
    np.testing.assert_allclose(both["will_like"], both["will_like_right"], atol=1e-5)
