"""What a world answers when it is asked for its true probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.errors import UsageError
from recsys.schema import ITEM, TIME, USER, Frame, in_kind, require_columns, to_polars
from recsys.simulation import _press as press
from recsys.simulation._orders import ORDERED_PRESS, SYNTHETIC
from recsys.simulation._population import CATEGORIES, FIRST_ID, seconds_since_start, taste_at
from recsys.simulation._scene import Scene
from recsys.simulation._world import TICK_SECONDS, World

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What a world's people and things are like, and the probabilities that follow.

    Attributes
    ----------
    world : World
    like_intercept : float
        Log-odds that bring the mean probability of a person's press to `like_rate`.
    users : polars.DataFrame
        One row a user: `user_id`, `habit` (log-odds), `activity` (relative), `group_cohort`, `fan_of` (a
        creator), `account` (`person`, `synthetic` or `hijacked`), `press_by_order` (probability on what
        was not ordered), `taste`, `taste_later` (arrays).
    items : polars.DataFrame
        One row an item: `item_id`, `creator_id`, `category`, `item_created_at`, `duration_seconds`,
        `provenance`, `popularity` (relative), `quality`, `direction` (unit array), `is_target`,
        `likes_shown` (at the end of the log).
    """

    world: World
    like_intercept: float
    users: pl.DataFrame
    items: pl.DataFrame

    def probabilities(self, pairs: Frame) -> Any:
        """Ask for the probabilities of any pairs, shown or not.

        Parameters
        ----------
        pairs : polars or pandas DataFrame
            `user_id` and `item_id`, and what is known of the display: `timestamp`, `position`,
            `likes_shown`, `is_nudged`. A column that is absent stands for the end of the log, the first
            position, the likes that the item has then, and no nudge.

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
            When an id is not of this world, or a display cannot be.

        Notes
        -----
        Of what the feed or a session holds and a pair does not: the account's own user holds the device;
        a hijacked account is its person's, a synthetic one presses by order; the mood of the session
        (`policy_private`) is integrated out, and `utility` leaves it out.
        """
        asked = to_polars(pairs)
        for name in (USER, ITEM):
            require_columns(asked, [name], "the pairs")
        user = _rows(asked[USER], self.users.height, "user")
        item = _rows(asked[ITEM], self.items.height, "item")
        display = self._display(asked, item)
        tick = self._ticks(asked)
        calm = self._answer(user, item, display, tick, mood=0.0)
        answer = calm
        if self.world.policy_private:
            # Moods are drawn alike from all categories.
            moved = self._answer(user, item, display, tick, mood=self.world.policy_private)
            answer = {name: calm[name] + (moved[name] - calm[name]) / len(CATEGORIES) for name in calm}
            answer["utility"] = calm["utility"]
        return in_kind(pl.DataFrame({USER: asked[USER], ITEM: asked[ITEM], **answer}), pairs)

    def _answer(
        self,
        user: npt.NDArray[np.int64],
        item: npt.NDArray[np.int64],
        display: press.Display,
        tick: npt.NDArray[np.int64],
        mood: float,
    ) -> dict[str, _Floats]:
        found: dict[str, _Floats] = {}
        for now in np.unique(tick):
            at = np.flatnonzero(tick == now)
            part = press.Display(*(column[at] for column in vars(display).values()))
            for name, values in self._answer_at(user[at], item[at], part, int(now), mood).items():
                found.setdefault(name, np.empty(len(user)))[at] = values
        return found

    def _answer_at(
        self,
        user: npt.NDArray[np.int64],
        item: npt.NDArray[np.int64],
        display: press.Display,
        tick: int,
        mood: float,
    ) -> dict[str, _Floats]:
        by_order = np.where(
            self.items["is_target"].to_numpy()[item],
            ORDERED_PRESS,
            self.users["press_by_order"].to_numpy()[user],
        )
        synthetic = (self.users["account"] == SYNTHETIC).to_numpy()[user]
        exposed = press.look_up(
            self.world,
            self.users,
            self.items,
            taste_at(self.world, self.users, tick),
            user,
            item,
            display,
            by_order=np.where(synthetic, by_order, np.nan),
            mood=np.full(len(user), mood),
        )
        return {
            "utility": exposed.utility,
            "p_like_before": press.p_like_before(self.world, self.like_intercept, exposed),
            "p_long_view_before": press.p_long_view_before(exposed),
            **{f"p_{what}": press.p_after(exposed, what) for what in press.AFTER},
        }

    def _display(self, asked: pl.DataFrame, item: npt.NDArray[np.int64]) -> press.Display:
        usual = {
            "position": np.ones(len(item)),
            "likes_shown": self.items["likes_shown"].to_numpy()[item],
            "is_nudged": np.zeros(len(item), dtype=bool),
        }
        given = {name: asked[name].to_numpy() if name in asked.columns else usual[name] for name in usual}
        for name, least in {"position": 1, "likes_shown": 0, "is_nudged": 0}.items():
            if not np.all(given[name] >= least):
                raise UsageError(f"{name} must be at least {least}, and known")
        return press.Display(**given)

    def _ticks(self, asked: pl.DataFrame) -> npt.NDArray[np.int64]:
        if TIME not in asked.columns:
            return np.full(asked.height, self.world.ticks)
        if asked[TIME].null_count():
            raise UsageError(f"{TIME} must be known, or the column absent")
        return seconds_since_start(asked[TIME]) // TICK_SECONDS


def tell_truth(scene: Scene, intercept: float, likes: npt.NDArray[np.int64]) -> Truth:
    """Keep what a world's people and things are like, once its log is drawn.

    Parameters
    ----------
    scene : Scene
    intercept : float
        From `run_pilot`.
    likes : ndarray of int64, shape (n_items,)
        Presses on every item over the whole log.

    Returns
    -------
    Truth
    """
    users = scene.population.users.with_columns(
        account=scene.orders.account, press_by_order=pl.Series(scene.orders.press_by_order)
    )
    items = scene.population.items.with_columns(
        is_target=pl.Series(scene.orders.is_target), likes_shown=pl.Series(likes)
    )
    return Truth(scene.world, intercept, users, items)


def _rows(ids: pl.Series, count: int, what: str) -> npt.NDArray[np.int64]:
    if not ids.dtype.is_integer():
        raise UsageError(f"{what} ids are whole numbers in a simulated world, got {ids.dtype}")
    strange = ids.filter(~ids.is_between(FIRST_ID, count + FIRST_ID - 1).fill_null(False))
    if len(strange):
        raise UsageError(f"this world's {what} ids run from {FIRST_ID} to {count}, got {strange[0]}")
    return ids.to_numpy().astype(np.int64) - FIRST_ID
