"""The snapshot of everyone, on the driver: what a published model is.

It holds, of each user, their factors of every signal, a dozen numbers, and what they make of the creators and
categories that they met: at 64 factors and three signals about a kilobyte, so 100 million users are 100 GB. Beyond what
the driver holds there is no one model; `rank_everyone` needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.engines._spark._arrow import collect
from recsys.engines._spark._rows import row_types, user_rows, with_users, without_users
from recsys.engines._spark._snapshots import Everyone
from recsys.features import Crowd, Snapshot, describe_members
from recsys.schema import USER


def collect_snapshot(everyone: Everyone, sample: Snapshot) -> Snapshot:
    """Take the snapshot of all users.

    Parameters
    ----------
    everyone : Everyone
    sample : Snapshot
        Of some of them, at the same cut.

    Returns
    -------
    Snapshot

    """
    types = row_types(sample, dict(everyone.before.records.table.dtypes)[USER])
    found = everyone.before.map_known(_Describe(everyone.crowd), types, everyone.factors)
    return with_users(without_users(sample), collect(found))


@dataclass(frozen=True)
class _Describe:
    """Rows and factors of users -> one row a user, with all that a snapshot says of it."""

    crowd: Crowd

    def __call__(self, known: pl.DataFrame, user_factors: Mapping[str, NDArray[np.float32]]) -> pl.DataFrame:
        return user_rows(describe_members(known, self.crowd, user_factors))
