"""Logs of one machine, in Spark."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from snapshots import put_together

from recsys.config import ModelSettings
from recsys.engines.spark import Everyone, Records, SparkFactors, SparkLog, UserFactors, collect, to_table
from recsys.events import EventLog
from recsys.features import Snapshot, spawn_seed
from recsys.schema import EXPOSED, ITEM, LIKED, USER


def in_spark(log: EventLog, spark: SparkSession) -> SparkLog:
    """Hand a log over, its rows in no order."""
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


def hold_everyone(log: EventLog, whole: Snapshot, settings: ModelSettings, session: SparkSession) -> Everyone:
    """Hand everyone over as a snapshot of this machine knows them."""
    records, outcomes = Records.of(in_spark(log, session)), whole.outcomes[1:]
    crowd, _ = put_together(log, whole, settings, outcomes)
    numbers = collect(records.table.select("number", USER))
    users = whole.entities[USER].index.codes(numbers[USER])
    factors = {name: told(numbers["number"], one.user_factors[users]) for name, one in whole.factors.items()}
    table = pl.DataFrame(
        {"number": numbers["number"], **{name: one["features"] for name, one in factors.items()}}
    )
    widths = dict.fromkeys(factors, settings.factors)
    return Everyone(
        records.at(whole.cut), crowd, UserFactors(session.createDataFrame(to_table(table)), widths)
    )
