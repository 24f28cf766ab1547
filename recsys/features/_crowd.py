"""What everyone together tells: all of a snapshot that is not about one user."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features._describe import History
from recsys.features._effects import LINKS, Expectation, Met, NumberedPairs
from recsys.features._rates import rows_where
from recsys.features._recency import late_sums
from recsys.features._snapshot import Confidence, EntityTable
from recsys.matrix import IdIndex
from recsys.schema import ITEM, USER


@dataclass(frozen=True)
class Outcome:
    """What everyone tells of one outcome.

    Attributes
    ----------
    unit : float
        Its median positive value, from which on it counts as a success.
    positive : int
        Rows where it is above 0, exposures or not.
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
    positive: int
    rate: float
    rates: dict[str, NDArray[np.float64]]
    effects: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    prior: tuple[float, float] = (1.0, 1.0)
    precisions: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Crowd:
    """All of a snapshot that is not about one user: what things are to everyone, and how much users differ.

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

    def pairs(self) -> dict[str, tuple[NDArray[np.int32], int]]:
        """Number the pairs of users and what they met, and say how many there are, by kind."""
        return {kind: (one.places[self.known], len(one.keys)) for kind, one in self.seen.pairs.items()}

    def late_sums(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
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
