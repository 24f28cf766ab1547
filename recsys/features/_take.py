"""A log and a cut -> Snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.engines import Engine, engine_for
from recsys.errors import UsageError
from recsys.events import EventLog
from recsys.features._behaviour import observe_behaviour
from recsys.features._describe import as_numbers
from recsys.features._names import ENTITIES
from recsys.features._snapshot import Snapshot
from recsys.matrix import IdIndex, strengths
from recsys.schema import CREATED, EXPOSED, ITEM, LIKED, TIME, USER
from recsys.split import known_before, require_known


class SnapshotSource(Protocol):
    """Whoever takes snapshots of a log.

    Attributes
    ----------
    log : EventLog
        What heads learn from, and are scored on.
    settings : ModelSettings
    threads : int
        0 means one a core.

    """

    log: EventLog
    settings: ModelSettings
    threads: int

    def at(
        self, cut: datetime, signals: tuple[str, ...] | None = None, start: Snapshot | None = None
    ) -> Snapshot:
        """Take the snapshot at a cut, see `Snapshots.at`."""
        ...

    def usable_signals(self, cut: datetime) -> tuple[str, ...]:
        """Name the declared signals with at least `min_signal_rows` positive rows before a cut."""
        ...


@dataclass
class Snapshots:
    """Snapshots of one log, each taken once, or each kept by whoever asks for it.

    Attributes
    ----------
    log : EventLog
    settings : ModelSettings
    threads : int
        0 means one a core.
    remember : bool
        Whether a snapshot that is asked for again is there still: for a single fit they only take memory.

    """

    log: EventLog
    settings: ModelSettings
    threads: int = 0
    remember: bool = True
    _taken: dict[tuple[datetime, tuple[str, ...] | None], Snapshot] = field(default_factory=dict)

    @cached_property
    def numbered(self) -> NumberedLog:
        """The log, its ids numbered once."""
        return NumberedLog.of(self.log)

    def let_go(self, until: datetime) -> None:
        """Number the log, and keep as it is only what heads learn from.

        Parameters
        ----------
        until : datetime.datetime
            Earlier rows of `log` are let go of: snapshots are taken of the numbered ones.

        """
        self.numbered = NumberedLog.of(self.log)
        self.log = replace(self.log, exposures=self.log.exposures.filter(pl.col(TIME) >= until))

    def at(
        self, cut: datetime, signals: tuple[str, ...] | None = None, start: Snapshot | None = None
    ) -> Snapshot:
        """Take, or take again, the snapshot at a cut.

        Parameters
        ----------
        cut : datetime.datetime
        signals : tuple of str, optional
            Use exactly these. Default: every signal of the log with enough rows before the cut.
        start : Snapshot, optional
            Of an earlier cut: its factors are where those of this one start.

        Returns
        -------
        Snapshot

        Raises
        ------
        UsageError
            When `start` is not of an earlier cut: it would know what is yet to come.

        """
        chosen = signals if signals is not None else self.usable_signals(cut)
        engine = engine_for(self.settings, self.threads)
        if start is not None:
            if start.cut >= cut:
                raise UsageError(
                    f"factors start from those of an earlier cut, got {start.cut.isoformat()} for {cut.isoformat()}"
                )
            return take_snapshot(self.numbered, cut, chosen, self.settings, engine, start)
        if (cut, chosen) in self._taken:
            return self._taken[cut, chosen]
        snapshot = take_snapshot(self.numbered, cut, chosen, self.settings, engine)
        if self.remember:
            self._taken[cut, chosen] = snapshot
        return snapshot

    def usable_signals(self, cut: datetime) -> tuple[str, ...]:
        """Do what `usable_signals` does, with this log and these settings."""
        numbered = self.numbered
        known = known_before(numbered.rows, cut, numbered.settle)
        return _with_enough_rows(known, numbered.signals, self.settings)


@dataclass(frozen=True)
class NumberedLog:
    """The exposures of a log in their own order, with places in the indices of all its ids where ids were.

    Attributes
    ----------
    indices : dict of str to IdIndex
        By kind of entity.
    rows : polars.DataFrame
        Sorted by time, user and item.
    signals : tuple of str
    settle : datetime.timedelta

    """

    indices: dict[str, IdIndex]
    rows: pl.DataFrame
    signals: tuple[str, ...]
    settle: timedelta

    @classmethod
    def of(cls, log: EventLog) -> NumberedLog:
        """Number the ids of a log, once for every cut."""
        kinds = [kind for kind in ENTITIES if kind in log.exposures.columns]
        indices = {kind: IdIndex.of(log.exposures[kind]) for kind in kinds}
        places = [pl.Series(kind, index.codes(log.exposures[kind])) for kind, index in indices.items()]
        rows = log.only(TIME, CREATED, LIKED, *log.signals).exposures.with_columns(places)
        # Sums of fractions depend on their order: let it be the log's own, whatever order it came in.
        rows = rows.sort(TIME, USER, ITEM, maintain_order=True).set_sorted(TIME)
        return cls(indices, rows, log.signals, log.settle)


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
    known = known_before(log.only(TIME, *log.signals).exposures, cut, log.settle)
    return _with_enough_rows(known, log.signals, settings)


def _with_enough_rows(
    known: pl.DataFrame, signals: tuple[str, ...], settings: ModelSettings
) -> tuple[str, ...]:
    positive = {name: int((known[name] > 0).sum()) for name in signals}
    return tuple(name for name, rows in positive.items() if rows >= settings.min_signal_rows)


def take_snapshot(
    numbered: NumberedLog,
    cut: datetime,
    signals: tuple[str, ...],
    settings: ModelSettings,
    engine: Engine,
    start: Snapshot | None = None,
) -> Snapshot:
    """Fit factors and rates on what was known before a cut.

    Parameters
    ----------
    numbered : NumberedLog
    cut : datetime.datetime
    signals : tuple of str
    settings : ModelSettings
    engine : Engine
    start : Snapshot, optional
        Of an earlier cut.

    Returns
    -------
    Snapshot

    Raises
    ------
    DataError
        When nothing lies before the cut.

    """
    known = known_before(numbered.rows, cut, numbered.settle)
    require_known(known, cut)
    behaviour = observe_behaviour(known, cut, signals, settings, engine, numbered.indices, start)
    skipped = tuple(name for name in numbered.signals if name not in signals)
    return behaviour.add_likes(known[LIKED].to_numpy(), engine, skipped)


def signal_strengths(known: pl.DataFrame, signals: tuple[str, ...]) -> dict[str, NDArray[np.float32]]:
    """Say how strong each signal of each exposure is: `exposed`, each declared one, `liked`.

    Parameters
    ----------
    known : polars.DataFrame of n exposures
        All that were known before the cut: the unit is the median of all.
    signals : tuple of str

    Returns
    -------
    dict of str to ndarray of float32, shape (n,)
        As `recsys.matrix.strengths` scales them; NaN is unknown.

    """
    values = {EXPOSED: np.ones(len(known), np.float32)}
    return values | {name: strengths(as_numbers(known, name)) for name in (*signals, LIKED)}
