"""What a head may know about a (user, item) pair at a cut.

A `Snapshot` holds everything that was known before one cut: factors of each signal, and a table of
rates and counts for each kind of entity (user, item, creator, category), whose last row is an
entity never seen. The features of a pair are rows of those tables side by side, then one dot product a
factorisation. Training and serving both call `Snapshot.pair_features`; nothing else makes features.

A head is fitted at one cut and serves at a later one, where every count and score has grown. So counts are
told relative to their mean at the cut, and dot products in units of their typical score.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, digamma

from recsys.config import ModelSettings
from recsys.engines import Engine, engine_for
from recsys.errors import DataError
from recsys.events import EventLog
from recsys.factors import Factors
from recsys.matrix import (
    UNSEEN,
    IdIndex,
    UserItems,
    interactions,
    median_positive,
    one_blas_thread,
    strengths,
)
from recsys.schema import CATEGORY, CREATOR, EXPOSED, FACTORS_ONLY, ITEM, LIKED, TIME, USER
from recsys.split import known_before

DOT, COUNT = "dot:", "ln_exposures"
ENTITIES = (USER, ITEM, CREATOR, CATEGORY)
LINKS = (CREATOR, CATEGORY)


@dataclass(frozen=True)
class EntityTable:
    """What is known about each user, item, creator or category.

    Attributes
    ----------
    index : IdIndex
        n ids.
    names : tuple of str
        d features.
    values : ndarray of float64, shape (n + 1, d)
        The last row is an entity never seen, which is where the place -1 points.

    """

    index: IdIndex
    names: tuple[str, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """Pairs as places in a snapshot; -1 is unseen.

    Attributes
    ----------
    places : dict of str to ndarray of int32, shape (n,)
        For each kind of entity in the snapshot.

    """

    places: dict[str, NDArray[np.int32]]


@dataclass(frozen=True)
class Snapshot:
    """Everything that was known before `cut`.

    Attributes
    ----------
    cut : datetime.datetime
    factors : dict of str to Factors
        By signal: `exposed`, each declared signal, `liked`.
    entities : dict of str to EntityTable
        By id column: `user_id`, `item_id`, and `creator_id`, `category` where the log has them.
    links : dict of str to ndarray of int32, shape (n_items + 1,)
        Each item's creator and category; -1 is unknown.
    skipped : tuple of str
        Signals with too few positive rows before the cut.

    """

    cut: datetime
    factors: dict[str, Factors]
    entities: dict[str, EntityTable]
    links: dict[str, NDArray[np.int32]]
    skipped: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pair features, in order."""
        tables = [f"{kind}:{name}" for kind, table in self.entities.items() for name in table.names]
        return (*tables, *(f"{DOT}{signal}" for signal in self.factors))

    def place(self, pairs: pl.DataFrame) -> Pairs:
        """Find each pair's places.

        Parameters
        ----------
        pairs : polars.DataFrame
            `user_id`, `item_id`; a `creator_id` or `category` beats what the log said of the item.

        Returns
        -------
        Pairs

        """
        places = {kind: self.entities[kind].index.codes(pairs[kind]) for kind in (USER, ITEM)}
        places |= self.place_links(places[ITEM], pairs)
        return Pairs(places)

    def place_links(self, items: NDArray[np.int32], given: pl.DataFrame) -> dict[str, NDArray[np.int32]]:
        """Find the creator and category of items: as given, else as the log said.

        Parameters
        ----------
        items : ndarray of int32, shape (n,)
        given : polars.DataFrame of n rows

        Returns
        -------
        dict of str to ndarray of int32, shape (n,)

        """
        found = {}
        for kind, linked in self.links.items():
            found[kind] = linked[items]
            if kind in given.columns:
                codes = self.entities[kind].index.codes(given[kind])
                found[kind] = np.where(given[kind].is_null().to_numpy(), found[kind], codes)
        return found

    def pair_features(self, pairs: Pairs) -> NDArray[np.float64]:
        """Compute the features of pairs, for training and for serving.

        Parameters
        ----------
        pairs : Pairs of length n

        Returns
        -------
        ndarray of float64, shape (n, len(names))

        """
        users, items = pairs.places[USER], pairs.places[ITEM]
        blocks = [table.values[pairs.places[kind]] for kind, table in self.entities.items()]
        dots = [one.scores(users, items)[:, None] / one.typical_score for one in self.factors.values()]
        return np.hstack([*blocks, *dots])


@dataclass
class Snapshots:
    """Snapshots of one log, each taken once.

    Attributes
    ----------
    log : EventLog
    settings : ModelSettings
    threads : int
        0 means one a core.

    """

    log: EventLog
    settings: ModelSettings
    threads: int = 0
    _taken: dict[tuple[datetime, tuple[str, ...] | None], Snapshot] = field(default_factory=dict)

    def at(self, cut: datetime, signals: tuple[str, ...] | None = None) -> Snapshot:
        """Take, or take again, the snapshot at a cut.

        Parameters
        ----------
        cut : datetime.datetime
        signals : tuple of str, optional
            Use exactly these. Default: every signal of the log with enough rows before the cut.

        Returns
        -------
        Snapshot

        """
        chosen = signals if signals is not None else usable_signals(self.log, cut, self.settings)
        if (cut, chosen) not in self._taken:
            engine = engine_for(self.settings, self.threads)
            self._taken[cut, chosen] = take_snapshot(self.log, cut, chosen, self.settings, engine)
        return self._taken[cut, chosen]


def usable_signals(log: EventLog, cut: datetime, settings: ModelSettings) -> tuple[str, ...]:
    """Name the declared signals with at least `min_signal_rows` positive rows before the cut.

    Parameters
    ----------
    log : EventLog
    cut : datetime.datetime
    settings : ModelSettings

    Returns
    -------
    tuple of str

    """
    known = known_before(log.exposures, cut, log.settle)
    positive = {name: int((known[name] > 0).sum()) for name in log.signals}
    return tuple(name for name, rows in positive.items() if rows >= settings.min_signal_rows)


def take_snapshot(
    log: EventLog, cut: datetime, signals: tuple[str, ...], settings: ModelSettings, engine: Engine
) -> Snapshot:
    """Fit factors and rates on what was known before a cut.

    Parameters
    ----------
    log : EventLog
    cut : datetime.datetime
    signals : tuple of str
    settings : ModelSettings
    engine : Engine

    Returns
    -------
    Snapshot

    Raises
    ------
    DataError
        When nothing lies before the cut.

    """
    known = known_before(log.exposures, cut, log.settle)
    if known.is_empty():
        raise DataError(
            f"no exposure lies before {cut.isoformat()}: shorten windows.calibrate or windows.test"
        )
    indices = {kind: IdIndex.of(known[kind]) for kind in ENTITIES if kind in known.columns}
    places = {kind: index.codes(known[kind]) for kind, index in indices.items()}
    # The rates' optimiser works on 2 x 2 matrices: BLAS threads make it ten times slower.
    with one_blas_thread():
        tables = {kind: _entity_table(index, places[kind], known, signals) for kind, index in indices.items()}
    links = {
        kind: _last_link(places[ITEM], places[kind], known, indices[ITEM])
        for kind in LINKS
        if kind in indices
    }
    factors = {
        name: engine.fit(matrix, settings, seed=_spawn_seed(settings.seed, order))
        for order, (name, matrix) in enumerate(signal_matrices(known, places, indices, signals).items())
    }
    skipped = tuple(name for name in log.signals if name not in signals)
    return Snapshot(cut, factors, tables, links, skipped)


def _spawn_seed(seed: int, order: int) -> int:
    # Not seed + order: then the second signal of one seed would start as the first of the next.
    return int(np.random.SeedSequence([seed, order]).generate_state(1)[0] >> 1)


def signal_matrices(
    known: pl.DataFrame,
    places: dict[str, NDArray[np.int32]],
    indices: dict[str, IdIndex],
    signals: tuple[str, ...],
) -> dict[str, UserItems]:
    """Build one matrix of strengths a signal: `exposed`, each declared one, `liked`.

    Parameters
    ----------
    known : polars.DataFrame of n exposures
    places : dict of str to ndarray of int32, shape (n,)
    indices : dict of str to IdIndex
    signals : tuple of str

    Returns
    -------
    dict of str to csr_matrix of float32, shape (n_users, n_items)

    """
    shape = (len(indices[USER]), len(indices[ITEM]))
    values = {EXPOSED: np.ones(len(known), np.float32)}
    values |= {name: strengths(_as_numbers(known, name)) for name in (*signals, LIKED)}
    return {name: interactions(places[USER], places[ITEM], value, shape) for name, value in values.items()}


def _as_numbers(rows: pl.DataFrame, name: str) -> NDArray[np.float64]:
    return rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()


def _entity_table(
    index: IdIndex,
    places: NDArray[np.int32],
    known: pl.DataFrame,
    signals: tuple[str, ...],
) -> EntityTable:
    listed, unshown = places != UNSEEN, known[FACTORS_ONLY].to_numpy()
    shown = listed & ~unshown
    columns = {}
    for name in (LIKED, *signals):
        values = _as_numbers(known, name)
        counted = shown & ~np.isnan(values)
        # A number counts as a success from its median positive value on; for a flag that is 1.
        success = values >= median_positive(values)
        trials = np.bincount(places[counted], minlength=len(index))
        successes = np.bincount(places[counted & success], minlength=len(index))
        columns[f"rate:{name}"] = shrunk_log_odds(successes, trials)
    # Where nothing is known to have been shown, the likes say what was met how often.
    met = places[listed if unshown.all() else shown]
    counts = np.bincount(met, minlength=len(index))
    columns[COUNT] = _ln_exposures(counts)
    return EntityTable(index, tuple(columns), np.column_stack(list(columns.values())))


def _ln_exposures(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """ln(1 + n), less its mean over the entities; the last value is n = 0."""
    # Counts grow with the log: uncentred, a head fitted at one cut is biased at the next.
    return np.log1p(np.append(counts, 0)) - np.log1p(counts).mean() if len(counts) else np.zeros(1)


def shrunk_log_odds(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> NDArray[np.float64]:
    """Estimate each entity's rate, shrunk towards its peers: empirical Bayes, in log-odds.

    Parameters
    ----------
    successes, trials : ndarray of int, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n + 1,)
        ``ln((k + a) / (m - k + b))`` for k successes in m trials; the last value is the prior
        ``ln(a / b)``, for an entity never seen.

    """
    a, b = fit_beta_binomial(successes, trials)
    k, m = np.append(successes, 0), np.append(trials, 0)
    return np.asarray(np.log((k + a) / (m - k + b)))


def fit_beta_binomial(successes: NDArray[np.int64], trials: NDArray[np.int64]) -> tuple[float, float]:
    """Fit the beta-binomial's a and b by maximum likelihood.

    Parameters
    ----------
    successes, trials : ndarray of int, shape (n,)
        Entities without trials say nothing.

    Returns
    -------
    a, b : float
        Positive. Prior mean a / (a + b); prior weight a + b, in trials, at most 2.4 million.

    Notes
    -----
    Maximises ``sum ln B(k + a, m - k + b) - ln B(a, b)`` over ln a, ln b. Equal (k, m) are counted
    once with their multiplicity.

    """
    cells, multiplicity = np.unique(np.column_stack([successes, trials]), axis=0, return_counts=True)
    held = cells[:, 1] > 0
    k, m, weight = cells[held, 0], cells[held, 1], multiplicity[held]
    if not len(k):
        return 1.0, 1.0
    mean = (np.sum(weight * k) + 0.5) / (np.sum(weight * m) + 1.0)

    def negative_log_likelihood(ln_ab: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a, b = np.exp(ln_ab)
        value = np.sum(weight * (betaln(k + a, m - k + b) - betaln(a, b)))
        both = digamma(m + a + b) - digamma(a + b)
        slope_a = a * np.sum(weight * (digamma(k + a) - digamma(a) - both))
        slope_b = b * np.sum(weight * (digamma(m - k + b) - digamma(b) - both))
        return -float(value), -np.array([slope_a, slope_b])

    start = np.log([5.0 * mean, 5.0 * (1.0 - mean)])
    bounds = [(-12.0, 14.0), (-12.0, 14.0)]
    best = minimize(negative_log_likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds)
    a, b = np.exp(best.x)
    return float(a), float(b)


def _last_link(
    items: NDArray[np.int32], linked: NDArray[np.int32], known: pl.DataFrame, index: IdIndex
) -> NDArray[np.int32]:
    """Each item's last known creator or category, by time and then by place in the log."""
    by_time = np.argsort(known[TIME].to_numpy(), kind="stable")
    told = by_time[linked[by_time] != UNSEEN]
    links = np.full(len(index) + 1, UNSEEN, dtype=np.int32)
    links[items[told]] = linked[told]
    return links
