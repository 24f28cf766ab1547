"""Snapshots put together from batches of users, and held against others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from recsys.config import ModelSettings
from recsys.events import EventLog
from recsys.features import (
    Confidence,
    Crowd,
    Kernel,
    NumberedLog,
    Snapshot,
    SumProducts,
    find_typical_scores,
    gather_crowd,
)
from recsys.schema import ITEM, USER
from recsys.split import known_before

KEYS = ["kind", "place"]
BATCHES = 4


@dataclass(frozen=True)
class Batches:
    """Rows in memory, some users at a time, combined as the contract says."""

    parts: list[pl.DataFrame]

    def combine(self, kernel: Kernel, how: Mapping[str, str]) -> pl.DataFrame:
        found = pl.concat(kernel(part) for part in self.parts)
        if "time" in found.columns:
            found = found.sort("time", "user")
        ways = {"sum": pl.sum, "min": pl.min, "median": pl.median, "last": pl.last}
        return found.group_by(KEYS, maintain_order=True).agg(ways[way](name) for name, way in how.items())


def put_together(
    log: EventLog, whole: Snapshot, settings: ModelSettings, signals: tuple[str, ...]
) -> tuple[Crowd, list[pl.DataFrame]]:
    numbered = NumberedLog.of(log)
    known = known_before(numbered.rows, whole.cut, log.settle)
    known = known.with_columns(numbered.indices[USER].ids.gather(known[USER]).alias(USER))
    parts = [known.filter(pl.col(USER).hash(1) % BATCHES == batch) for batch in range(BATCHES)]
    others = {kind: index for kind, index in numbered.indices.items() if kind != USER}
    crowd = gather_crowd(Batches(parts), known, whole.cut, signals, others, settings.half_life)
    crowd = replace(
        crowd,
        item_factors={name: one.item_factors for name, one in whole.factors.items()},
        als=Confidence(settings.alpha, settings.regularization),
        skipped=whole.skipped,
    )
    kernel = SumProducts(crowd)
    summed = pl.concat(kernel(part, factors_of(part, whole)) for part in parts)
    summed = summed.group_by(KEYS).agg(pl.sum("value"))
    return replace(crowd, typical_scores=find_typical_scores(summed, crowd.item_factors)), parts


def factors_of(part: pl.DataFrame, whole: Snapshot) -> dict[str, np.ndarray]:
    users = whole.entities[USER].index.codes(part[USER].unique().sort())
    return {name: one.user_factors[users] for name, one in whole.factors.items()}


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
        # Precisions are found to one part in 100,000, and the last bit of a sum decides where the search ends: small
        # effects, what is left of large terms, keep fewer digits.
        np.testing.assert_allclose(found.entities[kind].effects, table.effects[rows], rtol=5e-5, atol=5e-6)
    for kind, links in whole.links.items():
        np.testing.assert_array_equal(found.links[kind], links)
    items = whole.entities[ITEM].index.ids
    pairs = pl.DataFrame({USER: users}).join(pl.DataFrame({ITEM: items}), how="cross")
    ours, theirs = (one.pair_features(one.place(pairs)) for one in (found, whole))
    np.testing.assert_allclose(ours, theirs, rtol=5e-5, atol=5e-6)
