"""From a scene to its log and its truth, one refresh of the feed after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation import _outcomes as outcomes
from recsys.simulation._calendar import Rows, rows_by_tick
from recsys.simulation._catalogue import usual_likes
from recsys.simulation._exposures import encounter
from recsys.simulation._feed import Shown, draw_feed, go_past_the_feed
from recsys.simulation._history import empty_history, extend_history
from recsys.simulation._population import FIRST_ID, TIME_TYPE, instants, taste_at
from recsys.simulation._scene import Scene
from recsys.simulation._sessions import SURFACES

EVENTS_SCHEMA: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "user_id": pl.Int64(),
        "item_id": pl.Int64(),
        "timestamp": TIME_TYPE,
        "liked": pl.Boolean(),
        "long_view": pl.Boolean(),
        "follow": pl.Boolean(),
        "share": pl.Boolean(),
        "hide": pl.Boolean(),
        "dwell_seconds": pl.Float32(),
        "duration_seconds": pl.Int32(),
        "creator_id": pl.Int32(),
        "category": pl.String(),
        "item_created_at": TIME_TYPE,
        "provenance": pl.String(),
        "session_id": pl.Int32(),
        "position": pl.Int16(),
        "surface": pl.String(),
        "likes_shown": pl.Int32(),
        "is_nudged": pl.Boolean(),
        "is_random": pl.Boolean(),
        "propensity": pl.Float32(),
        "policy_score": pl.Float32(),
        "group_cohort": pl.String(),
    }
)
TRUTH_SCHEMA: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "utility": pl.Float32(),
        "p_like_before": pl.Float32(),
        "p_like_given_dwell": pl.Float32(),
        "p_long_view_before": pl.Float32(),
        "acting_user_id": pl.Int64(),
        "is_spliced": pl.Boolean(),
        "is_synthetic": pl.Boolean(),
    }
)
_OF_ITEM = ("item_id", "duration_seconds", "creator_id", "category", "item_created_at", "provenance")
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """The exposures of one tick.

    Attributes
    ----------
    events, truth : polars.DataFrame
        With the columns of `EVENTS_SCHEMA` and `TRUTH_SCHEMA`, row by row beside each other.
    usual : float
        What herding took for usual.
    likes : ndarray of int64, shape (n_items,)
        Presses on every item since the log's start, these included.
    """

    events: pl.DataFrame
    truth: pl.DataFrame
    usual: float
    likes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Outcomes:
    dwell: npt.NDArray[np.float32]
    p_like: npt.NDArray[np.float64]
    flags: Mapping[str, _Bools]


def draw_log(scene: Scene) -> Iterator[Part]:
    """Draw the log.

    Parameters
    ----------
    scene : Scene
        With its `like_intercept`.

    Yields
    ------
    Part
        One a tick, in order; some have no rows.
    """
    world, users, items = scene.world, scene.population.users, scene.population.items
    history = empty_history(world)
    for tick, rows in enumerate(rows_by_tick(world, scene.calendar)):
        taste = taste_at(world, users, tick)
        shown = draw_feed(scene, history, tick, rows.session, taste)
        shown = go_past_the_feed(scene, history, tick, rows, shown)
        usual = usual_likes(scene.catalogue, history.likes_of_item, tick)
        met = encounter(scene, tick, rows, shown.item, history.likes_of_item[shown.item], usual)
        exposed = outcomes.gather(world, users, items, taste, met)
        followed = _draw_outcomes(scene, tick, exposed)
        account, liked = scene.calendar.user[rows.session], followed.flags["liked"]
        history = extend_history(history, scene.catalogue, account, shown.item, liked)
        events = _as_events(scene, rows, shown, met, followed)
        truth = _as_truth(scene, rows, exposed, followed)
        yield Part(events, truth, usual, history.likes_of_item)


def _draw_outcomes(scene: Scene, tick: int, exposed: outcomes.Exposed) -> _Outcomes:
    """Draw what follows each exposure, every outcome from a stream of its own."""
    world, rows = scene.world, len(exposed.utility)
    noise = world.stream("dwell", tick).standard_normal(rows)
    dwell = outcomes.dwell_seconds(exposed, noise)
    p_like = outcomes.p_like_given_dwell(world, scene.like_intercept, exposed, dwell)
    flags = {
        "liked": world.stream("like", tick).random(rows) < p_like,
        "long_view": 2 * dwell >= exposed.duration,
    }
    for what in outcomes.AFTER:
        flags[what] = world.stream(what, tick).random(rows) < outcomes.p_after(exposed, what)
    return _Outcomes(dwell, p_like, flags)


def _as_events(
    scene: Scene, rows: Rows, shown: Shown, met: outcomes.Encounter, followed: _Outcomes
) -> pl.DataFrame:
    account = scene.calendar.user[rows.session].astype(np.int64)
    columns: dict[str, Any] = {
        **scene.population.items.select(_OF_ITEM)[shown.item].to_dict(),
        **followed.flags,
        "user_id": account + FIRST_ID,
        "timestamp": instants(rows.seconds),
        "dwell_seconds": followed.dwell,
        "session_id": rows.session + 1,
        "position": rows.position,
        "surface": pl.Series(SURFACES, dtype=pl.String).gather(shown.surface.astype(np.int64)),
        "likes_shown": met.likes_shown,
        "is_nudged": met.is_nudged,
        "is_random": shown.is_random,
        "propensity": pl.Series(shown.propensity, nan_to_null=True),
        "policy_score": pl.Series(shown.policy_score, nan_to_null=True),
        "group_cohort": scene.population.users["group_cohort"].gather(account),
    }
    return _to_schema(columns, EVENTS_SCHEMA)


def _as_truth(scene: Scene, rows: Rows, exposed: outcomes.Exposed, followed: _Outcomes) -> pl.DataFrame:
    account, acting = scene.calendar.user[rows.session], scene.circumstances.acting[rows.session]
    columns: dict[str, Any] = {
        "utility": exposed.utility,
        "p_like_before": outcomes.p_like_before(scene.world, scene.like_intercept, exposed),
        "p_like_given_dwell": followed.p_like,
        "p_long_view_before": outcomes.p_long_view_before(exposed),
        "acting_user_id": acting.astype(np.int64) + FIRST_ID,
        "is_spliced": acting != account,
        "is_synthetic": scene.orders.controlled[rows.session],
    }
    return _to_schema(columns, TRUTH_SCHEMA)


def _to_schema(columns: dict[str, Any], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
