"""What was known of each entity before a cut -> tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features._effects import Affinities, Effects, Met, NumberedPairs, estimate_effects
from recsys.features._names import COUNT, LATELY, LIKED_LATELY, NEWNESS, RATE, TREND
from recsys.features._rates import rows_where, shrunk_log_odds
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
from recsys.schema import CREATED, FACTORS_ONLY, ITEM, TIME, USER


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
        Of creator and category: each item's last known one.
    half_life : float
        In exposures of a user.
    units : mapping of str to float
        Median positive values of signals; those that are missing are of these rows.

    """

    known: pl.DataFrame
    cut: datetime
    indices: dict[str, IdIndex]
    places: dict[str, NDArray[np.int32]]
    links: dict[str, NDArray[np.int32]]
    half_life: float
    units: Mapping[str, float] = field(default_factory=dict)

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
        unit = self.units[outcome] if outcome in self.units else median_positive(values)
        success = np.where(np.isnan(values), np.nan, values >= unit)
        return np.where(self.shown, success, np.nan)


def as_numbers(rows: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """Take a column as float64, NaN where it is null."""
    return rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


@dataclass(frozen=True)
class Told:
    """What one outcome tells of every entity, each column with a last value for one never seen.

    Attributes
    ----------
    rates : dict of str to ndarray of float64, shape (n + 1,)
        By kind of entity.
    lately : ndarray of float64, shape (n_users + 1,)
    effects : Effects

    """

    rates: dict[str, NDArray[np.float64]]
    lately: NDArray[np.float64]
    effects: Effects


def describe_outcome(
    history: History, met: Met, pairs: dict[str, NumberedPairs], success: NDArray[np.float64]
) -> Told:
    """Describe what one outcome tells.

    Parameters
    ----------
    history : History of n rows
    met : Met
    pairs : dict of str to NumberedPairs
        Of user and creator, user and category.
    success : ndarray of float64, shape (n,)
        1 or 0; NaN is unknown, or not an exposure.

    Returns
    -------
    Told

    """
    rates = {
        kind: _rates(history.places[kind], len(index), success) for kind, index in history.indices.items()
    }
    users, known = history.places[USER], rows_where(~np.isnan(success))
    effects = late_effects(users[known], success[known], history.weights[known], len(history.indices[USER]))
    return Told(rates, np.append(effects, 0.0), estimate_effects(met, pairs, success))


def describe_exposures(history: History) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Describe how often entities were shown, and how new and rising items are: columns by kind and name."""
    counts = {kind: {COUNT: _count_exposures(history, kind)} for kind in history.indices}
    items, size = history.places[ITEM][history.shown], len(history.indices[ITEM])
    weights = weights_by_day(history.known[TIME], history.cut)[history.shown]
    ages = weights_by_day(born_by(history.known), history.cut)[history.shown]
    counts[ITEM][NEWNESS] = np.append(smallest_weight(items, ages, size), 1.0)
    counts[ITEM][TREND] = np.append(trends(items, weights, size), 0.0)
    return counts


def describe_last_like(history: History, liked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weigh each user's last like on an exposure, shape (n_users + 1,): 1 is on the last exposure, 0 no like."""
    users, liked = history.places[USER], liked & history.shown
    freshest = largest_weight(users[liked], history.weights[liked], len(history.indices[USER]))
    return np.append(freshest, 0.0)


def build_tables(
    history: History,
    told: dict[str, Told],
    exposures: dict[str, dict[str, NDArray[np.float64]]],
    last_like: NDArray[np.float64],
) -> dict[str, EntityTable]:
    """Put what is known of each kind of entity into one table.

    Parameters
    ----------
    history : History
    told : dict of str to Told
        By outcome: `liked` first.
    exposures : dict of str to dict of str to ndarray
        From `describe_exposures`.
    last_like : ndarray of float64, shape (n_users + 1,)

    Returns
    -------
    dict of str to EntityTable
        By kind.

    """
    of_users = {**exposures[USER], **describe_lately(told, last_like)}
    columns = {**exposures, USER: of_users}
    return {kind: build_table(kind, index, told, columns[kind]) for kind, index in history.indices.items()}


def describe_lately(
    told: Mapping[str, Told], last_like: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Name the columns of what users did lately."""
    return {f"{LATELY}{outcome}": one.lately for outcome, one in told.items()} | {LIKED_LATELY: last_like}


def build_table(
    kind: str, index: IdIndex, told: Mapping[str, Told], columns: Mapping[str, NDArray[np.float64]]
) -> EntityTable:
    """Put the rates of one kind of entity, then more columns, beside its effects."""
    named = {f"{RATE}{outcome}": one.rates[kind] for outcome, one in told.items()} | dict(columns)
    added = np.column_stack([np.append(one.effects.entities[kind], 0.0) for one in told.values()])
    return EntityTable(index, tuple(named), np.column_stack(list(named.values())), added)


def attach_users(
    history: History, pairs: dict[str, NumberedPairs], told: dict[str, Told]
) -> dict[str, Affinities]:
    """Say what users make of creators and categories beyond what both are to everyone, a column an outcome."""
    return {
        kind: Affinities(
            len(history.indices[kind]),
            numbered.keys,
            np.column_stack([one.effects.affinities[kind] for one in told.values()]),
        )
        for kind, numbered in pairs.items()
    }


def compare_tastes(history: History, liked: NDArray[np.bool_], factors: Factors) -> Factors:
    """Compare items with what each user liked lately.

    Parameters
    ----------
    history : History of n rows
    liked : ndarray of bool, shape (n,)
    factors : Factors
        In whose space items are compared.

    Returns
    -------
    Factors

    """
    users, items = history.places[USER], history.places[ITEM]
    return late_tastes(users[liked], items[liked], history.weights[liked], factors)


def _rates(places: NDArray[np.int32], size: int, success: NDArray[np.float64]) -> NDArray[np.float64]:
    counted = (places != UNSEEN) & ~np.isnan(success)
    trials = np.bincount(places[rows_where(counted)], minlength=size)
    return shrunk_log_odds(np.bincount(places[counted & (success > 0)], minlength=size), trials)


def _count_exposures(history: History, kind: str) -> NDArray[np.float64]:
    places = history.places[kind]
    listed = places != UNSEEN
    # Where nothing is known to have been shown, the likes say what was met how often.
    met = places[listed & history.shown] if history.shown.any() else places[listed]
    return ln_exposures(np.bincount(met, minlength=len(history.indices[kind])))


def ln_exposures(counts: NDArray[np.int64], mean: float | None = None) -> NDArray[np.float64]:
    """ln(1 + n), less its mean over the entities, or that of more of them; the last value is n = 0."""
    # Counts grow with the log: uncentred, a head fitted at one cut is biased at the next.
    if mean is None:
        mean = np.log1p(counts).mean() if len(counts) else 0.0
    return np.asarray(np.log1p(np.append(counts, 0)) - mean)


def born_by(known: pl.DataFrame) -> pl.Series:
    """Say from when at the latest each row's item was there: its creation, its exposure where that is unknown."""
    # Whatever it says of itself, what was shown was there: a creation after the exposure tells nothing.
    there = [pl.col(name) for name in (TIME, CREATED) if name in known.columns]
    return known.select(pl.min_horizontal(there)).to_series()
