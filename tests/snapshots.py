"""One snapshot held against another."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.features import Snapshot
from recsys.schema import ITEM, USER


def require_equal(found: Snapshot, whole: Snapshot) -> None:
    """Hold what a snapshot says of its users and all items against that of everyone."""
    users = found.entities[USER].index.ids
    places = np.append(whole.entities[USER].index.codes(users), -1)
    assert (found.names, found.outcomes, found.skipped) == (whole.names, whole.outcomes, whole.skipped)
    for kind, table in whole.entities.items():
        rows = places if kind == USER else slice(None)
        if kind != USER:
            assert found.entities[kind].index.ids.equals(table.index.ids)
        np.testing.assert_allclose(found.entities[kind].values, table.values[rows], rtol=1e-9, atol=1e-9)
        # Precisions are found to one part in 100,000, and the last bit of a sum decides where the search ends.
        np.testing.assert_allclose(found.entities[kind].effects, table.effects[rows], rtol=5e-5, atol=1e-6)
    for kind, links in whole.links.items():
        np.testing.assert_array_equal(found.links[kind], links)
    items = whole.entities[ITEM].index.ids
    pairs = pl.DataFrame({USER: users}).join(pl.DataFrame({ITEM: items}), how="cross")
    ours, theirs = (one.pair_features(one.place(pairs)) for one in (found, whole))
    np.testing.assert_allclose(ours, theirs, rtol=5e-5, atol=2e-6)
