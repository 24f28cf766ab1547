"""A log and a cut -> Snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.engines import Engine, engine_for
from recsys.errors import DataError
from recsys.events import EventLog
from recsys.features._rates import shrunk_log_odds
from recsys.features._snapshot import COUNT, ENTITIES, LINKS, EntityTable, Snapshot
from recsys.matrix import (
    UNSEEN,
    IdIndex,
    UserItems,
    interactions,
    median_positive,
    one_blas_thread,
    strengths,
)
from recsys.schema import EXPOSED, FACTORS_ONLY, ITEM, LIKED, TIME, USER
from recsys.split import known_before


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


def _last_link(
    items: NDArray[np.int32], linked: NDArray[np.int32], known: pl.DataFrame, index: IdIndex
) -> NDArray[np.int32]:
    """Each item's last known creator or category, by time and then by place in the log."""
    by_time = np.argsort(known[TIME].to_numpy(), kind="stable")
    told = by_time[linked[by_time] != UNSEEN]
    links = np.full(len(index) + 1, UNSEEN, dtype=np.int32)
    links[items[told]] = linked[told]
    return links
