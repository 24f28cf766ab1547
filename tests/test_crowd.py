"""A snapshot put together from batches of users is the one that is taken of all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from snapshots import require_equal

from recsys.config import ModelSettings
from recsys.events import EventLog
from recsys.features import (
    Confidence,
    Crowd,
    Kernel,
    NumberedLog,
    Snapshot,
    Snapshots,
    SumProducts,
    describe_members,
    find_typical_scores,
    gather_crowd,
)
from recsys.schema import USER
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


@pytest.mark.parametrize("at", [8, 13])
def test_batches_of_users_give_the_snapshot_of_everyone(
    log: EventLog, small: ModelSettings, day: Callable[[float], datetime], at: float
) -> None:
    require_same_in_batches(log, small, day(at))


def test_likes_that_came_late_or_without_a_view_and_unsettled_exposures_are_taken_as_everywhere(
    draw_events: Callable[..., pl.DataFrame],
    read_event_log: Callable[..., EventLog],
    small: ModelSettings,
    day: Callable[[float], datetime],
) -> None:
    log = read_event_log(draw_events(1), settle=timedelta(hours=8))
    assert log.counts.likes_without_view
    require_same_in_batches(log, small, day(8))


def test_a_log_of_likes_alone_without_creators_is_taken_as_everywhere(
    frame: pl.DataFrame, read_exposures: Callable[..., EventLog], small: ModelSettings
) -> None:
    likes = frame.filter("liked").select("user_id", "item_id", "timestamp")
    log = read_exposures(likes, signals=[])
    require_same_in_batches(log, small, log.as_of)


def require_same_in_batches(log: EventLog, settings: ModelSettings, cut: datetime) -> None:
    whole = Snapshots(log, settings, 1).at(cut)
    crowd, parts = put_together(log, whole, settings, whole.outcomes[1:])
    for part in parts:
        require_equal(describe_members(part, crowd, factors_of(part, whole)), whole)
