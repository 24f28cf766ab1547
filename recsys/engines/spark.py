"""The same job on Spark, for logs that do not fit one machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.config import ModelSettings
from recsys.engines._spark._als import SparkFactors, collect_factors, factorise, rows_of
from recsys.engines._spark._arrow import collect, to_table
from recsys.engines._spark._collect import collect_snapshot
from recsys.engines._spark._failures import in_one_line
from recsys.engines._spark._log import SparkLog
from recsys.engines._spark._read import read
from recsys.engines._spark._records import Records, UserFactors
from recsys.engines._spark._score import Order, rank_everyone, rank_from_model
from recsys.engines._spark._session import open_session
from recsys.engines._spark._snapshots import Everyone, SparkSnapshots
from recsys.factors import Factors
from recsys.matrix import UserItems

__all__ = [
    "Everyone",
    "Order",
    "Records",
    "SparkEngine",
    "SparkFactors",
    "SparkLog",
    "SparkSnapshots",
    "UserFactors",
    "collect",
    "collect_snapshot",
    "factorise",
    "in_one_line",
    "open_session",
    "rank_everyone",
    "rank_from_model",
    "read",
    "to_table",
]


@dataclass(frozen=True)
class SparkEngine:
    """MLlib's ALS in the session that is open, or on this machine.

    Attributes
    ----------
    threads : int
        Not used: the session says how many there are.

    """

    threads: int = 0

    def fit(
        self, user_items: UserItems, settings: ModelSettings, seed: int, start: Factors | None = None
    ) -> Factors:
        """Factorise a matrix of the driver; `factorise` takes rows that never come here.

        Parameters
        ----------
        user_items : csr_matrix of float32, shape (n_users, n_items)
        settings : ModelSettings
        seed : int
        start : Factors, optional
            Passed over: MLlib starts afresh.

        Returns
        -------
        Factors

        """
        shape = user_items.shape
        if not (user_items.data > 0).any():
            empty = (np.zeros((count, settings.factors), np.float32) for count in shape)
            return Factors(*empty)
        return collect_factors(factorise(rows_of(user_items, open_session()), settings, seed), shape)
