"""What everyone together tells, from sums over batches of users: nobody needs to hold all rows.

A `Crowd` is all of a snapshot that is not about one user: what items, creators and categories are to everyone, and
how much users differ, which shrinks what is known of each. `recsys.features._members` makes the snapshot of any
users from their own rows and a crowd.

Whoever holds the rows hands them to a function in batches, every user's all in one, and combines the tables that it
gives by kind and place. How much users differ is fitted on a sample of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features._describe import History, Told, as_numbers, born_by, build_table, ln_exposures
from recsys.features._effects import (
    LINKS,
    Effects,
    Expectation,
    Met,
    NumberedPairs,
    effects_precision,
    rate_of,
)
from recsys.features._names import COUNT, ENTITIES, LATELY, NEWNESS, TREND
from recsys.features._rates import fit_beta_binomial, rows_where, shrunk_log_odds
from recsys.features._recency import late_sums, trends_of, weights_by_day
from recsys.features._snapshot import Confidence, EntityTable
from recsys.matrix import UNSEEN, IdIndex, median_positive
from recsys.schema import FACTORS_ONLY, ITEM, LIKED, TIME, USER

KIND, PLACE = "kind", "place"
_SUMS = ("successes", "trials", "expected")
_EVERYONE = "everyone"
Kernel: TypeAlias = Callable[[pl.DataFrame], pl.DataFrame]


class Holder(Protocol):
    """Whoever holds the rows."""

    def combine(self, kernel: Kernel, how: Mapping[str, str]) -> pl.DataFrame:
        """Apply a function to the rows known before a cut, some users at a time, and combine what it gives.

        Parameters
        ----------
        kernel : callable
            Rows, sorted by time, user and item -> `kind`, `place` and the columns of `how`. Of the rows, users are
            ids; items, creators and categories places in the indices of the whole log.
        how : mapping of str to {"sum", "min", "median", "last"}
            By column. `last` is of the greatest `time`, then `user`, which the function gives too.

        Returns
        -------
        polars.DataFrame
            One row a kind and place.

        """
        ...


@dataclass(frozen=True)
class Outcome:
    """What everyone tells of one outcome.

    Attributes
    ----------
    unit : float
        Its median positive value, from which on it counts as a success.
    rate : float
        Overall.
    rates : dict of str to ndarray of float64, shape (n + 1,)
        By kind of entity: shrunk log-odds.
    effects : dict of str to ndarray of float64, shape (n,)
        By kind, in the order in which they were estimated.
    prior : (float, float)
        a and b of users' rates.
    precisions : dict of str to float
        How much users differ: in what they add, in that lately, in what they make of a kind.

    """

    unit: float
    rate: float
    rates: dict[str, NDArray[np.float64]]
    effects: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    prior: tuple[float, float] = (1.0, 1.0)
    precisions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Crowd:
    """All of a snapshot that is not about one user.

    Attributes
    ----------
    cut : datetime.datetime
    half_life : float
        In exposures of a user.
    indices : dict of str to IdIndex
        Of the items, creators and categories known before the cut.
    anew : dict of str to ndarray of int32
        Their places here, by place in the indices of the whole log; the last value is -1.
    links : dict of str to ndarray of int32, shape (n_items + 1,)
    outcomes : dict of str to Outcome
        `liked` first.
    exposures : dict of str to dict of str to ndarray
        Columns of tables, by kind and name.
    shown : bool
        Whether any exposure is known; else likes say what was met how often.
    mean_ln_exposures : float
        Of users.
    item_factors : dict of str to ndarray of float32, shape (n_items, factors)
        By signal.
    typical_scores : dict of str to float
        Of each factorisation of everyone, and of the tastes.
    als : Confidence or None
    skipped : tuple of str
        Signals with too few positive rows.
    tables : dict of str to EntityTable
        Of items, creators and categories.

    """

    cut: datetime
    half_life: float
    indices: dict[str, IdIndex]
    anew: dict[str, NDArray[np.int32]]
    links: dict[str, NDArray[np.int32]]
    outcomes: dict[str, Outcome]
    exposures: dict[str, dict[str, NDArray[np.float64]]]
    shown: bool
    mean_ln_exposures: float
    item_factors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    typical_scores: dict[str, float] = field(default_factory=dict)
    als: Confidence | None = None
    skipped: tuple[str, ...] = ()
    tables: dict[str, EntityTable] = field(default_factory=dict)

    def look_at(self, known: pl.DataFrame) -> Seen:
        """Number the rows of some users, as they come to a kernel."""
        index = IdIndex.of(known[USER])
        places = {USER: index.codes(known[USER])}
        places |= {kind: anew[known[kind].to_numpy()] for kind, anew in self.anew.items()}
        indices = {USER: index, **self.indices}
        units = {name: one.unit for name, one in self.outcomes.items()}
        rows = known.drop(indices)
        history = History(rows, self.cut, indices, places, self.links, self.half_life, units)
        linked = {kind: found[places[ITEM]] for kind, found in self.links.items()}
        sizes = {kind: len(one) for kind, one in indices.items()}
        met = Met({USER: places[USER], ITEM: places[ITEM], **linked}, sizes)
        return Seen(self, history, met, {kind: met.pairs(kind) for kind in LINKS if kind in linked})


@dataclass(frozen=True)
class Seen:
    """Some users' rows as a crowd numbers them."""

    crowd: Crowd
    history: History
    met: Met
    pairs: dict[str, NumberedPairs]

    @property
    def users(self) -> int:
        """How many they are."""
        return len(self.history.indices[USER])

    def of(self, outcome: str) -> Trials:
        """Take the rows where an outcome is known."""
        success = self.history.successes(outcome)
        known = rows_where(~np.isnan(success))
        return Trials(self, self.crowd.outcomes[outcome], known, success[known])


@dataclass(frozen=True)
class Trials:
    """The rows of some users where an outcome is known."""

    seen: Seen
    outcome: Outcome
    known: NDArray[np.bool_] | slice
    success: NDArray[np.float64]

    def places(self, kind: str) -> NDArray[np.int32]:
        """Give the users, the items, or what the items are linked to."""
        return self.seen.met.places[kind][self.known]

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count each user's successes and trials."""
        users, size = self.places(USER), self.seen.users
        return np.bincount(users[self.success > 0], minlength=size), np.bincount(users, minlength=size)

    def late_sums(self) -> tuple[NDArray[np.float64], ...]:
        """Count each user's weighted successes, trials, and successes expected."""
        weights = self.seen.history.weights[self.known]
        return late_sums(self.places(USER), self.success, weights, self.seen.users, self.outcome.rate)

    def expect(self) -> tuple[Expectation, NDArray[np.float64]]:
        """Take the users, and every kind that is known already, into account; give what the users add."""
        expectation = Expectation(self.success, self.outcome.rate)
        added = expectation.add(self.places(USER), self.seen.users, self.outcome.precisions[USER])
        for kind, effects in self.outcome.effects.items():
            expectation.take(effects, self.places(kind))
        return expectation, added


def observe_crowd(
    holder: Holder,
    sample: pl.DataFrame,
    cut: datetime,
    signals: tuple[str, ...],
    numbered: Mapping[str, IdIndex],
    half_life: float,
) -> Crowd:
    """Describe what everyone tells, apart from factorisations.

    Parameters
    ----------
    holder : Holder
    sample : polars.DataFrame
        The rows of a sample of users, as the holder's kernels get them.
    cut : datetime.datetime
    signals : tuple of str
    numbered : mapping of str to IdIndex
        Items, creators and categories of the whole log.
    half_life : float

    Returns
    -------
    Crowd

    """
    units = _find_units(holder, signals)
    counted = Counted(holder.combine(CountExposures(cut, units, tuple(numbered)), count_how(units)))
    crowd = _begin(counted, _find_links(holder, numbered), cut, units, numbered, half_life)
    crowd = _with_outcomes(crowd, lambda name, one: _fit_users(crowd.look_at(sample).of(name)))
    for kind in (*(kind for kind in LINKS if kind in crowd.links), ITEM):
        crowd = _add_effects(holder, crowd, kind)
    crowd = _with_outcomes(crowd, lambda name, one: _fit_pairs(crowd.look_at(sample).of(name)))
    told = {name: Told(one.rates, np.zeros(1), Effects(one.effects, {})) for name, one in crowd.outcomes.items()}
    tables = {
        kind: build_table(kind, index, told, crowd.exposures[kind]) for kind, index in crowd.indices.items()
    }
    return replace(crowd, tables=tables)
