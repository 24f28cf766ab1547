"""Factors of an earlier snapshot, among the users and items of now."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features._snapshot import Snapshot
from recsys.matrix import IdIndex
from recsys.schema import ITEM, USER


def carry_factors(
    earlier: Snapshot, signal: str, indices: Mapping[str, IdIndex], factors: int
) -> Factors | None:
    """Find each id's earlier factors.

    Parameters
    ----------
    earlier : Snapshot
    signal : str
    indices : mapping of str to IdIndex
        Of the users and items of now.
    factors : int

    Returns
    -------
    Factors or None
        Rows of zeros for ids that are new. None where the earlier snapshot has no such signal, another number of
        factors, or ids of another type.

    """
    found = earlier.factors.get(signal)
    if found is None or found.user_factors.shape[1] != factors:
        return None
    if any(earlier.entities[kind].index.ids.dtype != indices[kind].ids.dtype for kind in (USER, ITEM)):
        return None
    users = _carry(found.user_factors, earlier.entities[USER].index, indices[USER])
    return Factors(users, _carry(found.item_factors, earlier.entities[ITEM].index, indices[ITEM]))


def _carry(rows: NDArray[np.float32], before: IdIndex, now: IdIndex) -> NDArray[np.float32]:
    # The last row is where the place -1 points.
    return np.vstack([rows, np.zeros_like(rows, shape=(1, rows.shape[1]))])[before.codes(now.ids)]
