"""What a world answers when it is asked for its true probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.errors import UsageError
from recsys.schema import ITEM, TIME, USER, Frame, in_kind, require_columns, to_polars
from recsys.simulation import _outcomes as outcomes
from recsys.simulation._catalogue import usual_likes
from recsys.simulation._orders import BOT, p_ordered
from recsys.simulation._population import CATEGORIES, FIRST_ID, TIME_TYPE, seconds_since_start, taste_at
from recsys.simulation._scene import Scene
from recsys.simulation._world import TICK_SECONDS, World

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What a world's people and things are like, and the probabilities that follow.

    Attributes
    ----------
    world : World
    like_intercept : float
        Log-odds of a press where all else is 0.
    usual_likes : tuple of float
        What herding takes for usual in each tick of the log, and after it.
    users : polars.DataFrame
        One row a user: `user_id`, `habit` (log-odds), `activity` (relative), `group_cohort`, `fan_of` (a
        creator), `account` (`person`, `synthetic` or `hijacked`), `camouflage` (probability of a press on
        what was not ordered), `taste`, `taste_later` (arrays).
    items : polars.DataFrame
        One row an item: `item_id`, `creator_id`, `category`, `item_created_at`, `duration_seconds`,
        `provenance`, `popularity` (relative), `quality`, `direction` (unit array), `is_target` (ordered),
        `likes_shown` (at the end of the log).
    """

    world: World
    like_intercept: float
    usual_likes: tuple[float, ...]
    users: pl.DataFrame
    items: pl.DataFrame

    def probabilities(self, pairs: Frame) -> Any:
        """Ask for the probabilities of any pairs, shown or not.

        Parameters
        ----------
        pairs : polars or pandas DataFrame
            `user_id` and `item_id`, and what is known of the display: `timestamp`, `position`,
            `likes_shown`, `is_nudged`. A column that is absent stands for the end of the log, the first
            position, the likes that the item has at the end, and no nudge.

        Returns
        -------
        DataFrame of the same kind
            `user_id`, `item_id`, `utility`, `p_like_before`, `p_long_view_before`, `p_follow`, `p_share`,
            `p_hide` (float64), in the order given.

        Raises
        ------
        InputError
            When a column of ids is absent.
        UsageError
            When an id is not of this world, a display cannot be, or a world with herding is asked about a
            time without the likes shown then.

        Notes
        -----
        Of what the feed or a session holds and a pair does not: the account's own user holds the device;
        a hijacked account is its person's, a synthetic one presses by order; the mood of the session
        (`policy_private`) is integrated out, and `utility` leaves it out.
        """
        asked = to_polars(pairs)
        require_columns(asked, [USER, ITEM], "the table of pairs")
        tick = self._ticks(asked)
        met = self._meet(asked, tick)
        calm = answer = self._answer(met, tick)
        if self.world.policy_private:
            moved = self._answer(_in_mood(met, self.world.policy_private), tick)
            # Moods are drawn alike from all categories.
            answer = {name: calm[name] + (moved[name] - calm[name]) / len(CATEGORIES) for name in calm}
        answer = {**answer, "utility": calm["utility"]}
        return in_kind(pl.DataFrame({USER: asked[USER], ITEM: asked[ITEM], **answer}), pairs)

    def _meet(self, asked: pl.DataFrame, tick: _Ints) -> outcomes.Encounter:
        if self.world.herding and TIME in asked.columns and "likes_shown" not in asked.columns:
            raise UsageError(
                "this world has herding: with timestamp, the table of pairs needs likes_shown too"
            )
        user = _rows(asked[USER], self.users.height)
        item = _rows(asked[ITEM], self.items.height)
        likes = self.items["likes_shown"].gather(item)
        return outcomes.Encounter(
            user=user,
            item=item,
            position=_known(asked, "position", 1, np.ones(len(user))),
            likes_shown=_known(asked, "likes_shown", 0, likes.to_numpy()),
            usual=np.array(self.usual_likes)[tick],
            is_nudged=_known(asked, "is_nudged", 0, np.zeros(len(user))),
            mood=np.zeros(len(user)),
            ordered=p_ordered(
                (self.users["account"] == BOT).to_numpy()[user],
                self.items["is_target"].to_numpy()[item],
                self.users["camouflage"].to_numpy()[user],
            ),
        )

    def _ticks(self, asked: pl.DataFrame) -> _Ints:
        if TIME not in asked.columns:
            return np.full(asked.height, self.world.ticks)
        times = asked[TIME]
        if not isinstance(times.dtype, pl.Datetime) or times.null_count():
            raise UsageError(f"{TIME} must be known instants, or the column absent, got {times.dtype}")
        seconds = seconds_since_start(times.dt.replace_time_zone("UTC").cast(TIME_TYPE))
        outside = times.filter(pl.Series((seconds < 0) | (seconds > self.world.seconds)))
        if len(outside):
            raise UsageError(
                f"{TIME} must lie within the {self.world.days} days of the log, got {outside[0]}"
            )
        return seconds // TICK_SECONDS

    def _answer(self, met: outcomes.Encounter, tick: _Ints) -> dict[str, _Floats]:
        found: dict[str, _Floats] = {}
        for now in np.unique(tick):
            at = np.flatnonzero(tick == now)
            for name, values in self._answer_at(met.take(at), int(now)).items():
                found.setdefault(name, np.empty(len(tick)))[at] = values
        return found

    def _answer_at(self, met: outcomes.Encounter, tick: int) -> dict[str, _Floats]:
        taste = taste_at(self.world, self.users, tick)
        exposed = outcomes.gather(self.world, self.users, self.items, taste, met)
        return {
            "utility": exposed.utility,
            "p_like_before": outcomes.p_like_before(self.world, self.like_intercept, exposed),
            "p_long_view_before": outcomes.p_long_view_before(exposed),
            **{f"p_{what}": outcomes.p_after(exposed, what) for what in outcomes.AFTER},
        }


def tell_truth(scene: Scene, usual: Sequence[float], likes: _Ints) -> Truth:
    """Keep what a world's people and things are like, once its log is drawn.

    Parameters
    ----------
    scene : Scene
    usual : sequence of float, one a tick
        What herding took for usual.
    likes : ndarray of int64, shape (n_items,)
        Presses on every item over the whole log.

    Returns
    -------
    Truth
    """
    users = scene.population.users.with_columns(
        account=scene.orders.account, camouflage=pl.Series(scene.orders.camouflage)
    )
    items = scene.population.items.with_columns(
        is_target=pl.Series(scene.orders.is_target), likes_shown=pl.Series(likes)
    )
    at_the_end = usual_likes(scene.catalogue, likes, scene.world.ticks)
    return Truth(scene.world, scene.like_intercept, (*usual, at_the_end), users, items)


def _in_mood(met: outcomes.Encounter, mood: float) -> outcomes.Encounter:
    return outcomes.Encounter(**{**vars(met), "mood": np.full(len(met.user), mood)})


def _known(asked: pl.DataFrame, name: str, least: int, usual: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Read a column of the display, or take what is usual where it is absent."""
    if name not in asked.columns:
        return usual
    values = asked[name].cast(pl.Float64, strict=False)
    wrong = asked[name].filter(~(values >= least).fill_null(False) | values.is_infinite().fill_null(False))
    if len(wrong):
        raise UsageError(
            f"{name} must be a number of at least {least}, or the column absent, got {wrong[0]!r}"
        )
    return values.to_numpy()


def _rows(ids: pl.Series, count: int) -> _Ints:
    if not ids.dtype.is_integer():
        raise UsageError(f"{ids.name} holds whole numbers in a simulated world, got {ids.dtype}")
    strange = ids.filter(~ids.is_between(FIRST_ID, count + FIRST_ID - 1).fill_null(False))
    if len(strange):
        raise UsageError(f"{ids.name} runs from {FIRST_ID} to {count} in this world, got {strange[0]}")
    return ids.to_numpy().astype(np.int64) - FIRST_ID
