"""What was known of each entity before a cut -> tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features._effects import LINKS, Affinities, Effects, Met, estimate_effects
from recsys.features._names import COUNT, LATELY, LIKED_LATELY, NEWNESS, RATE, TREND
from recsys.features._rates import shrunk_log_odds
from recsys.features._recency import (
    exposures_since,
    largest_weight,
    late_effects,
    late_tastes,
    smallest_weight,
    trends,
    weights_by_day,
)
from recsys.features._snapshot import EntityTable
from recsys.matrix import UNSEEN, IdIndex, median_positive
from recsys.schema import CREATED, FACTORS_ONLY, ITEM, LIKED, TIME, USER


@dataclass(frozen=True)
class History:
    """The exposures before a cut, in order of time.

    Attributes
    ----------
    known : polars.DataFrame of n rows
    cut : datetime.datetime
    indices : dict of str to IdIndex
        By kind of entity.
    places : dict of str to ndarray of int32, shape (n,)
    links : dict of str to ndarray of int32, shape (n_items + 1,)
        Each item's creator and category.
    outcomes : tuple of str
        `liked`, then the signals.
    half_life : float
        In exposures of a user.

    """

    known: pl.DataFrame
    cut: datetime
    indices: dict[str, IdIndex]
    places: dict[str, NDArray[np.int32]]
    links: dict[str, NDArray[np.int32]]
    outcomes: tuple[str, ...]
    half_life: float

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weigh rows by how many of the same user's came after, shape (n,): 1 is the last."""
        since = exposures_since(self.places[USER], len(self.indices[USER]))
        return np.asarray(0.5 ** (since / self.half_life))

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Rows that are exposures, not likes whose view is unknown."""
        return ~self.known[FACTORS_ONLY].to_numpy()

    def successes(self, outcome: str) -> NDArray[np.float64]:
        """Say where an outcome came about, shape (n,): 1 or 0; NaN where unknown, or not an exposure."""
        values = as_numbers(self.known, outcome)
        # A number counts as a success from its median positive value on; for a flag that is 1.
        success = np.where(np.isnan(values), np.nan, values >= median_positive(values))
        return np.where(self.shown, success, np.nan)


def as_numbers(rows: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """Take a column as float64, NaN where it is null."""
    return rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def describe_entities(history: History) -> tuple[dict[str, EntityTable], dict[str, Affinities]]:
    """Describe every entity, and what users make of creators and categories.

    Parameters
    ----------
    history : History

    Returns
    -------
    tables : dict of str to EntityTable
    affinities : dict of str to Affinities

    """
    sizes = {kind: len(index) for kind, index in history.indices.items()}
    linked = {kind: links[history.places[ITEM]] for kind, links in history.links.items()}
    met = Met({**{kind: history.places[kind] for kind in (USER, ITEM)}, **linked}, sizes)
    successes = {outcome: history.successes(outcome) for outcome in history.outcomes}
    pairs = {kind: met.pairs(kind) for kind in LINKS if kind in linked}
    effects = [estimate_effects(met, pairs, success) for success in successes.values()]
    lately = {
        USER: _describe_users_lately(history, successes),
        ITEM: _describe_items_lately(history),
    }
    tables = {}
    for kind, index in history.indices.items():
        columns = _describe_rates(history, kind, successes) | lately.get(kind, {})
        added = np.column_stack([np.append(one.entities[kind], 0.0) for one in effects])
        tables[kind] = EntityTable(index, tuple(columns), np.column_stack(list(columns.values())), added)
    return tables, {kind: _attach(sizes[kind], pairs[kind].keys, kind, effects) for kind in pairs}


def compare_tastes(history: History, factors: Factors) -> Factors:
    """Compare items with what each user liked lately.

    Parameters
    ----------
    history : History
    factors : Factors
        In whose space items are compared.

    Returns
    -------
    Factors

    """
    users, items = history.places[USER], history.places[ITEM]
    liked = as_numbers(history.known, LIKED) > 0
    return late_tastes(users[liked], items[liked], history.weights[liked], factors)


def _describe_rates(
    history: History, kind: str, successes: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    places, size = history.places[kind], len(history.indices[kind])
    listed = places != UNSEEN
    columns = {}
    for outcome, success in successes.items():
        counted = listed & ~np.isnan(success)
        trials = np.bincount(places[counted], minlength=size)
        columns[f"{RATE}{outcome}"] = shrunk_log_odds(
            np.bincount(places[counted & (success > 0)], minlength=size), trials
        )
    # Where nothing is known to have been shown, the likes say what was met how often.
    met = places[listed & history.shown] if history.shown.any() else places[listed]
    columns[COUNT] = _ln_exposures(np.bincount(met, minlength=size))
    return columns


def _ln_exposures(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """ln(1 + n), less its mean over the entities; the last value is n = 0."""
    # Counts grow with the log: uncentred, a head fitted at one cut is biased at the next.
    return np.log1p(np.append(counts, 0)) - np.log1p(counts).mean() if len(counts) else np.zeros(1)


def _describe_users_lately(
    history: History, successes: dict[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    users, size, weights = history.places[USER], len(history.indices[USER]), history.weights
    columns = {}
    for outcome, success in successes.items():
        known = ~np.isnan(success)
        effects = late_effects(users[known], success[known], weights[known], size)
        columns[f"{LATELY}{outcome}"] = np.append(effects, 0.0)
    liked = successes[LIKED] > 0
    freshest = largest_weight(users[liked], weights[liked], size)
    return {**columns, LIKED_LATELY: np.append(freshest, 0.0)}


def _describe_items_lately(history: History) -> dict[str, NDArray[np.float64]]:
    items, size = history.places[ITEM][history.shown], len(history.indices[ITEM])
    weights = weights_by_day(history.known[TIME], history.cut)[history.shown]
    ages = weights_by_day(_born_by(history.known), history.cut)[history.shown]
    newness = np.append(smallest_weight(items, ages, size), 1.0)
    return {NEWNESS: newness, TREND: np.append(trends(items, weights, size), 0.0)}


def _born_by(known: pl.DataFrame) -> pl.Series:
    """Say from when at the latest each row's item was there: its creation, its exposure where that is unknown."""
    # Whatever it says of itself, what was shown was there: a creation after the exposure tells nothing.
    there = [pl.col(name) for name in (TIME, CREATED) if name in known.columns]
    return known.select(pl.min_horizontal(there)).to_series()


def _attach(others: int, keys: NDArray[np.int64], kind: str, effects: list[Effects]) -> Affinities:
    values = [one.affinities[kind] for one in effects]
    return Affinities(others, keys, np.column_stack(values).astype(np.float32))
