"""MLlib's ALS: rows of user, item, strength -> factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from recsys.config import ModelSettings
from recsys.factors import Factors
from recsys.matrix import UserItems

#: Entries of a block of users, or of items. A count of the log, so that no cluster decides what a model is.
_BLOCK_ENTRIES = 500_000
_FEWEST_BLOCKS, _MOST_BLOCKS = 2, 1_000


class SparkFactors(NamedTuple):
    """A factorisation that lies in Spark.

    Attributes
    ----------
    users, items : pyspark.sql.DataFrame
        `id` (int) and `features` (array of float); whoever was not observed has no row.

    """

    users: DataFrame
    items: DataFrame


def factorise(rows: DataFrame, settings: ModelSettings, seed: int) -> SparkFactors:
    """Minimise ``sum c (p - x.y)^2 + regularization (sum n_u |x_u|^2 + sum n_i |y_i|^2)`` in Spark.

    Parameters
    ----------
    rows : pyspark.sql.DataFrame
        `user` and `item` (int, from 0), `strength` (float, above 0): each pair once, at least one. Read several times.
    settings : ModelSettings
    seed : int

    Returns
    -------
    SparkFactors

    Notes
    -----
    Confidence is ``1 + alpha * r``, as in every engine. MLlib multiplies the penalty of a row by its number of entries,
    n_u or n_i (Zhou et al. 2008), the local engine does not: the same `regularization` means another model, and the
    engines have defaults of their own. In what was measured on calibrate windows (tests/benchmarks/LOG.md) the count
    keeps a penalty of 1 right for users with ten entries and with a thousand.

    Factors of equal rows, settings and seeds are equal but for rounding: a shuffle delivers the terms of a sum in no
    fixed order. Each row is solved exactly, not by conjugate gradients.

    References
    ----------
    Hu, Koren and Volinsky (2008), doi 10.1109/ICDM.2008.22; Zhou, Wilkinson, Schreiber and Pan (2008), doi
    10.1007/978-3-540-68880-8_32.

    """
    # Workers import this file too, and pandas with pyspark.ml.
    from pyspark.ml.recommendation import ALS

    blocks = min(max(rows.count() // _BLOCK_ENTRIES, _FEWEST_BLOCKS), _MOST_BLOCKS)
    als = ALS(
        userCol="user",
        itemCol="item",
        ratingCol="strength",
        implicitPrefs=True,
        rank=settings.factors,
        maxIter=settings.iterations,
        alpha=settings.alpha,
        regParam=settings.regularization,
        numUserBlocks=blocks,
        numItemBlocks=blocks,
        seed=seed,
    )
    model = als.fit(rows)
    return SparkFactors(model.userFactors, model.itemFactors)


def rows_of(user_items: UserItems, session: SparkSession) -> DataFrame:
    """Hand the entries of a matrix to Spark, as `factorise` takes them."""
    users = np.repeat(np.arange(user_items.shape[0], dtype=np.int32), np.diff(user_items.indptr))
    columns = {"user": users, "item": user_items.indices, "strength": user_items.data}
    return session.createDataFrame(pa.table(columns)).filter("strength > 0")


def collect_factors(found: SparkFactors, shape: tuple[int, int]) -> Factors:
    """Bring factors to the driver; whoever was not observed gets a row of zeros."""
    return Factors(*(_collect(side, count) for side, count in zip(found, shape, strict=True)))


def _collect(side: DataFrame, count: int) -> NDArray[np.float32]:
    found = pl.from_arrow(side.select("id", "features").toArrow())
    assert isinstance(found, pl.DataFrame)
    rows = found["features"].explode().to_numpy().reshape(len(found), -1)
    whole = np.zeros((count, rows.shape[1]), np.float32)
    whole[found["id"].to_numpy()] = rows
    return whole
