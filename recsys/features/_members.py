"""Some users' rows and a crowd -> the snapshot of these users, with all items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.factors import Factors, mean_outer_product, typical_score_of
from recsys.features._crowd import Crowd, Seen, Trials
from recsys.features._describe import (
    Told,
    attach_users,
    build_table,
    compare_tastes,
    describe_last_like,
    describe_lately,
    ln_exposures,
)
from recsys.features._effects import Effects, shrunk_effects
from recsys.features._kernels import KIND, PLACE
from recsys.features._names import COUNT, LATELY, TASTE
from recsys.features._rates import log_odds_under
from recsys.features._recency import directions_of
from recsys.features._snapshot import Snapshot
from recsys.matrix import one_blas_thread
from recsys.schema import EXPOSED, LIKED, USER


def describe_members(
    known: pl.DataFrame, crowd: Crowd, user_factors: Mapping[str, NDArray[np.float32]]
) -> Snapshot:
    """Take the snapshot of some users.

    Parameters
    ----------
    known : polars.DataFrame
        All their rows that were known before the cut, as `recsys.features.Holder` gives them to kernels.
    crowd : Crowd
        With its factors.
    user_factors : mapping of str to ndarray of float32, shape (n_users, factors)
        By signal, users ascending by id.

    Returns
    -------
    Snapshot
        What that of everyone says of them.

    """
    assert crowd.als is not None
    seen, liked = crowd.look_at(known), known[LIKED].to_numpy()
    told = {name: _tell(seen.of(name)) for name in crowd.outcomes}
    exposures = {COUNT: _count(seen), **describe_lately(told, describe_last_like(seen.history, liked))}
    factors = {
        signal: Factors(user_factors[signal], items, unit=crowd.typical_scores[signal])
        for signal, items in crowd.item_factors.items()
    }
    tastes = compare_tastes(seen.history, liked, factors[EXPOSED])
    return Snapshot(
        crowd.cut,
        factors,
        {USER: build_table(USER, seen.history.indices[USER], told, exposures), **crowd.tables},
        crowd.links,
        attach_users(seen.history, seen.pairs, told),
        replace(tastes, unit=crowd.typical_scores[TASTE]),
        crowd.als,
        crowd.skipped,
    )


def _tell(trials: Trials) -> Told:
    outcome = trials.outcome
    rates = log_odds_under(outcome.prior, *trials.counts())
    lately = shrunk_effects(*trials.late_sums(), precision=outcome.precisions[LATELY])
    expectation, of_users = trials.expect()
    affinities = {
        kind: expectation.add(codes, size, outcome.precisions[kind]).astype(np.float32)
        for kind, (codes, size) in trials.pairs().items()
    }
    return Told({USER: rates}, np.append(lately, 0.0), Effects({USER: of_users}, affinities))


def _count(seen: Seen) -> NDArray[np.float64]:
    places, crowd = seen.history.places[USER], seen.crowd
    met = places[seen.history.shown] if crowd.shown else places
    return ln_exposures(np.bincount(met, minlength=seen.users), crowd.mean_ln_exposures)


@dataclass(frozen=True)
class SumProducts:
    """Rows and factors of users -> sums of outer products of their factors and tastes: what a typical score needs."""

    crowd: Crowd

    def __call__(self, known: pl.DataFrame, user_factors: Mapping[str, NDArray[np.float32]]) -> pl.DataFrame:
        """Give, by signal and for the tastes, ``sum x x'`` and how many users were observed."""
        history = self.crowd.look_at(known).history
        exposed = Factors(user_factors[EXPOSED], self.crowd.item_factors[EXPOSED])
        tastes = compare_tastes(history, known[LIKED].to_numpy(), exposed).user_factors
        return pl.concat(_products(kind, rows) for kind, rows in {**user_factors, TASTE: tastes}.items())


def find_typical_scores(
    summed: pl.DataFrame, item_factors: Mapping[str, NDArray[np.float32]]
) -> dict[str, float]:
    """Give the typical score of each factorisation of everyone, and of the tastes.

    Parameters
    ----------
    summed : polars.DataFrame
        What `SumProducts` gave, of everyone.
    item_factors : mapping of str to ndarray of float32, shape (n_items, factors)

    Returns
    -------
    dict of str to float

    """
    sides = {**item_factors, TASTE: directions_of(item_factors[EXPOSED]).astype(np.float32)}
    found = {}
    for kind, items in sides.items():
        *products, observed = summed.filter(pl.col(KIND) == kind).sort(PLACE)["value"].to_list()
        users = np.reshape(products, (items.shape[1], items.shape[1])) / max(observed, 1)
        with one_blas_thread():
            found[kind] = typical_score_of(users, mean_outer_product(items))
    return found


def _products(kind: str, rows: NDArray[np.float32]) -> pl.DataFrame:
    whole = rows.astype(np.float64)
    values = np.append((whole.T @ whole).ravel(), rows.any(axis=1).sum())
    places = np.arange(len(values), dtype=np.int32)
    return pl.DataFrame({KIND: pl.repeat(kind, len(values), eager=True), PLACE: places, "value": values})
