"""From a scene to its log and its truth, one refresh of the feed after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.simulation import _press as press
from recsys.simulation._calendar import Rows, rows_by_tick
from recsys.simulation._expose import draw_nudges, expose
from recsys.simulation._feed import Shown, draw_feed, go_past_the_feed
from recsys.simulation._memory import nothing_happened, remember
from recsys.simulation._population import FIRST_ID, TIME, instants, taste_at
from recsys.simulation._scene import Scene
from recsys.simulation._sessions import SURFACES
from recsys.simulation._world import World

EVENTS_SCHEMA: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "user_id": pl.Int64(),
        "item_id": pl.Int64(),
        "timestamp": TIME,
        "liked": pl.Boolean(),
        "long_view": pl.Boolean(),
        "follow": pl.Boolean(),
        "share": pl.Boolean(),
        "hide": pl.Boolean(),
        "dwell_seconds": pl.Float32(),
        "duration_seconds": pl.Int32(),
        "creator_id": pl.Int32(),
        "category": pl.String(),
        "item_created_at": TIME,
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
    likes : ndarray of int64, shape (n_items,)
        Presses on every item since the log's start, these included.
    """

    events: pl.DataFrame
    truth: pl.DataFrame
    likes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Outcomes:
    dwell: npt.NDArray[np.float32]
    p_like: npt.NDArray[np.float64]
    flags: Mapping[str, _Bools]


def play(scene: Scene, intercept: float) -> Iterator[Part]:
    """Draw the log.

    Parameters
    ----------
    scene : Scene
    intercept : float
        From `run_pilot`.

    Yields
    ------
    Part
        One a tick, in order; some have no rows.
    """
    world, shelves, memory = scene.world, scene.shelves, nothing_happened(scene.world)
    for tick, rows in enumerate(rows_by_tick(world, scene.calendar)):
        account = scene.calendar.user[rows.session]
        taste = taste_at(world, scene.population.users, tick)
        shown = draw_feed(scene, memory, tick, rows.session, taste)
        shown = go_past_the_feed(scene, tick, rows, shown)
        nudges = draw_nudges(world, tick, len(account))
        display = press.Display(rows.position, memory.likes_of_item[shown.item], nudges)
        exposed = expose(scene, rows.session, shown.item, taste, display)
        outcomes = _draw_outcomes(world, intercept, tick, exposed)
        liked = outcomes.flags["liked"]
        memory = remember(memory, shelves, account, shown.item, liked)
        events = _as_events(scene, rows, shown, display, outcomes)
        yield Part(events, _as_truth(scene, intercept, rows, exposed, outcomes), memory.likes_of_item)


def _draw_outcomes(world: World, intercept: float, tick: int, exposed: press.Exposed) -> _Outcomes:
    """Draw what follows each exposure, every outcome from a stream of its own."""
    rows = len(exposed.utility)
    noise = world.stream("dwell", tick).standard_normal(rows)
    dwell = press.dwell_seconds(exposed, noise)
    p_like = press.p_like_given_dwell(world, intercept, exposed, dwell)
    flags = {
        "liked": world.stream("like", tick).random(rows) < p_like,
        "long_view": press.reading(exposed, noise) >= 0,
    }
    for what in press.AFTER:
        flags[what] = world.stream(what, tick).random(rows) < press.p_after(exposed, what)
    return _Outcomes(dwell, p_like, flags)


def _as_events(
    scene: Scene, rows: Rows, shown: Shown, display: press.Display, outcomes: _Outcomes
) -> pl.DataFrame:
    account = scene.calendar.user[rows.session]
    columns: dict[str, Any] = {
        **scene.population.items.select(_OF_ITEM)[shown.item].to_dict(),
        **outcomes.flags,
        "user_id": account.astype(np.int64) + FIRST_ID,
        "timestamp": instants(rows.seconds),
        "dwell_seconds": outcomes.dwell,
        "session_id": rows.session + 1,
        "position": rows.position,
        "surface": pl.Series(SURFACES, dtype=pl.String).gather(shown.surface.astype(np.int64)),
        "likes_shown": display.likes_shown,
        "is_nudged": display.is_nudged,
        "is_random": shown.is_random,
        "propensity": pl.Series(shown.propensity, nan_to_null=True),
        "policy_score": pl.Series(shown.policy_score, nan_to_null=True),
        "group_cohort": scene.population.users["group_cohort"].gather(account.astype(np.int64)),
    }
    return pl.DataFrame(columns).select(pl.col(name).cast(dtype) for name, dtype in EVENTS_SCHEMA.items())


def _as_truth(
    scene: Scene, intercept: float, rows: Rows, exposed: press.Exposed, outcomes: _Outcomes
) -> pl.DataFrame:
    account, acting = scene.calendar.user[rows.session], scene.circumstances.acting[rows.session]
    columns: dict[str, Any] = {
        "utility": exposed.utility,
        "p_like_before": press.p_like_before(scene.world, intercept, exposed),
        "p_like_given_dwell": outcomes.p_like,
        "p_long_view_before": press.p_long_view_before(exposed),
        "acting_user_id": acting.astype(np.int64) + FIRST_ID,
        "is_spliced": acting != account,
        "is_synthetic": scene.orders.controlled[rows.session],
    }
    return pl.DataFrame(columns, schema_overrides=dict(TRUTH_SCHEMA)).select(
        pl.col(name).cast(dtype) for name, dtype in TRUTH_SCHEMA.items()
    )
