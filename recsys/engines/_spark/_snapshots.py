"""What was known before a cut, of everyone: aggregated in Spark; and the snapshot of a sample of users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from recsys.config import ModelSettings
from recsys.engines._spark._als import SparkFactors, factorise
from recsys.engines._spark._arrow import collect, to_matrix
from recsys.engines._spark._log import SparkLog
from recsys.engines._spark._records import (
    NUMBER,
    Records,
    RecordsBefore,
    UserFactors,
    combined,
    draw_records,
    factors_of,
)
from recsys.events import EventLog
from recsys.features import (
    Confidence,
    Crowd,
    Snapshot,
    SumProducts,
    as_numbers,
    describe_members,
    find_typical_scores,
    gather_crowd,
    spawn_seed,
)
from recsys.matrix import strengths
from recsys.schema import CREATED, EXPOSED, ITEM, LIKED, TIME, USER
from recsys.split import Windows, known_before, require_known

_PRODUCTS = {"kind": "string", "place": "int", "value": "double"}
Factorise = Callable[[DataFrame, ModelSettings, int], SparkFactors]


@dataclass(frozen=True)
class Everyone:
    """What was known of everyone before a cut: of all users in Spark, of the rest on the driver.

    Attributes
    ----------
    before : RecordsBefore
    crowd : Crowd
    factors : UserFactors

    """

    before: RecordsBefore
    crowd: Crowd
    factors: UserFactors


@dataclass
class SparkSnapshots:
    """What `recsys.features.Snapshots` is, for a log in Spark.

    Attributes
    ----------
    log : EventLog
        A sample of the users with all their rows: what a head learns from, and is scored on. They are drawn by a
        hash of their id, which no label decides, so that nothing needs to be weighed.
    settings : ModelSettings
    threads : int
        On the driver; 0 means one a core.
    records : Records
    share : float
        Of users that are in the sample.
    factorise : callable
        Rows of user, item, strength -> their factors.

    Notes
    -----
    Sums of fractions come in the order of shuffles: two runs agree but for rounding.

    """

    log: EventLog
    settings: ModelSettings
    threads: int
    records: Records
    share: float
    factorise: Factorise = factorise
    _taken: dict[tuple[datetime, tuple[str, ...]], tuple[Everyone, Snapshot]] = field(default_factory=dict)
    _usable: dict[datetime, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, log: SparkLog, settings: ModelSettings, windows: Windows, threads: int = 0) -> SparkSnapshots:
        """Draw the sample, and gather the records of a log.

        Parameters
        ----------
        log : SparkLog
        settings : ModelSettings
            So many users are drawn that about `head_rows` exposures fall into the larger window.
        windows : Windows
        threads : int

        Returns
        -------
        SparkSnapshots

        """
        spans = [(one.start, one.end) for one in (windows.calibrate, windows.test)]
        rows = max(log.rows.filter(log.rows[TIME].between(*span)).count() for span in spans)
        share = min(1.0, settings.head_rows / max(rows, 1))
        sample, records = log.take_users(share, settings.seed), Records.of(log)
        log.rows.unpersist()
        return cls(sample, settings, threads, records, share)

    def at(
        self, cut: datetime, signals: tuple[str, ...] | None = None, start: Snapshot | None = None
    ) -> Snapshot:
        """Take, or take again, the snapshot of the sampled users, with all items, at a cut.

        Parameters
        ----------
        cut : datetime.datetime
        signals : tuple of str, optional
        start : Snapshot, optional
            As `recsys.features.Snapshots.at` takes them; the ALS of Spark passes over a start.

        Returns
        -------
        Snapshot

        """
        return self._take(cut, signals)[1]

    def everyone(self, cut: datetime, signals: tuple[str, ...]) -> Everyone:
        """Take, or take again, what was known of everyone."""
        return self._take(cut, signals)[0]

    def usable_signals(self, cut: datetime) -> tuple[str, ...]:
        """Name the signals with enough positive rows of everyone before a cut."""
        if cut not in self._usable:
            found = self.records.at(cut).combine(_CountPositive(self.log.signals), {"rows": "sum"})
            rows, least = dict(zip(found["kind"], found["rows"], strict=True)), self.settings.min_signal_rows
            self._usable[cut] = tuple(name for name in self.log.signals if rows.get(name, 0) >= least)
        return self._usable[cut]

    def release(self) -> None:
        """Let Spark forget what it keeps."""
        for everyone, _ in self._taken.values():
            everyone.factors.table.unpersist()
        self._taken.clear()
        self.records.release()

    @cached_property
    def _numbered(self) -> pl.DataFrame:
        """The sample's rows, as records hold them."""
        rows = self.log.only(
            USER, ITEM, TIME, CREATED, LIKED, *self.log.signals, *self.records.indices
        ).exposures
        places = [pl.Series(kind, index.codes(rows[kind])) for kind, index in self.records.indices.items()]
        return rows.with_columns(places).sort(TIME, USER, ITEM, maintain_order=True).set_sorted(TIME)

    def _take(self, cut: datetime, signals: tuple[str, ...] | None) -> tuple[Everyone, Snapshot]:
        chosen = self.usable_signals(cut) if signals is None else signals
        if (cut, chosen) not in self._taken:
            self._taken[cut, chosen] = self._observe(cut, chosen)
        return self._taken[cut, chosen]

    def _observe(self, cut: datetime, signals: tuple[str, ...]) -> tuple[Everyone, Snapshot]:
        known = known_before(self._numbered, cut, self.log.settle)
        require_known(known, cut)
        before = self.records.at(cut)
        crowd = gather_crowd(before, known, cut, signals, self.records.indices, self.settings.half_life)
        skipped = tuple(name for name in self.log.signals if name not in signals)
        als = Confidence(self.settings.alpha, self.settings.regularization)
        crowd = replace(crowd, als=als, skipped=skipped)
        crowd, factors = self._factorise(before, crowd)
        everyone = Everyone(before, crowd, factors)
        return everyone, describe_members(known, crowd, self._factors_of(known, factors))

    def _factorise(self, before: RecordsBefore, crowd: Crowd) -> tuple[Crowd, UserFactors]:
        """Factorise every signal, and put the factors of items into the crowd."""
        units = {EXPOSED: 1.0, **{name: one.unit for name, one in crowd.outcomes.items()}}
        # Likes last, as their seed.
        units[LIKED] = units.pop(LIKED)
        pairs = _Pairs(units)
        table = before.map_known(pairs, pairs.schema).persist()
        users, items = [], {}
        for order, name in enumerate(units):
            items[name] = np.zeros((len(crowd.indices[ITEM]), self.settings.factors), np.float32)
            if name != EXPOSED and not crowd.outcomes[name].positive:
                continue
            rows = table.select("user", "item", table[pairs.column(name)].alias("strength"))
            found = self.factorise(
                rows.filter("strength > 0"), self.settings, spawn_seed(self.settings.seed, order)
            )
            users.append(
                found.users.select(found.users["id"].alias(NUMBER), found.users["features"].alias(name))
            )
            told = collect(found.items)
            places = crowd.anew[ITEM][told["id"].to_numpy()]
            items[name][places] = to_matrix(told["features"], self.settings.factors)
        table.unpersist()
        factors = UserFactors.of(users, dict.fromkeys(items, self.settings.factors))
        crowd = replace(crowd, item_factors=items)
        summed = combined(before.map_known(SumProducts(crowd), _PRODUCTS, factors), {"value": "sum"})
        return replace(crowd, typical_scores=find_typical_scores(summed, items)), factors

    def _factors_of(self, known: pl.DataFrame, factors: UserFactors) -> dict[str, NDArray[np.float32]]:
        drawn = draw_records(self.records.table.select(NUMBER, USER), self.share, self.settings.seed)
        return factors_of(collect(factors.beside(drawn)), known, factors.widths)


@dataclass(frozen=True)
class _Pairs:
    """Rows -> how strong each signal of a pair of user and item is, 0 where it is not positive."""

    units: dict[str, float]

    @property
    def schema(self) -> dict[str, str]:
        """Types of its columns."""
        return {"user": "int", "item": "int", **{self.column(name): "float" for name in self.units}}

    def column(self, name: str) -> str:
        """Name the column of a signal: of its own name Spark might read a part as an expression."""
        return f"strength_{list(self.units).index(name)}"

    def __call__(self, known: pl.DataFrame, _: object) -> pl.DataFrame:
        rows = known.select(pl.col(NUMBER).alias("user"), pl.col(ITEM).alias("item"))
        rows = rows.with_columns(
            pl.Series(self.column(name), self._strengths(known, name)) for name in self.units
        )
        # A user's rows are all here: no shuffle has to bring equal pairs together.
        summed = rows.group_by("user", "item").agg(pl.sum(self.column(name)) for name in self.units)
        return summed.with_columns(pl.col(pl.Float64).cast(pl.Float32))

    def _strengths(self, known: pl.DataFrame, name: str) -> NDArray[np.float64]:
        values = np.ones(len(known)) if name == EXPOSED else as_numbers(known, name)
        found = strengths(values, self.units[name])
        return np.where(found > 0, found, 0).astype(np.float64)


@dataclass(frozen=True)
class _CountPositive:
    """Rows -> how many are positive of each signal."""

    signals: tuple[str, ...]

    def __call__(self, known: pl.DataFrame) -> pl.DataFrame:
        counts = [float((known[name] > 0).sum()) for name in self.signals]
        places = pl.Series("place", [0] * len(counts), pl.Int32)
        return pl.DataFrame(
            {"kind": pl.Series(self.signals, dtype=pl.String), "place": places, "rows": counts}
        )
