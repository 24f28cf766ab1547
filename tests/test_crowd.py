"""A snapshot put together from batches of users is the one that is taken of all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import pytest
from snapshots import factors_of, put_together, require_equal

from recsys.config import ModelSettings
from recsys.events import EventLog
from recsys.features import Snapshots, describe_members


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
