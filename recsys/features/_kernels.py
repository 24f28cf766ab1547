"""Rows of some users -> tables that are combined over all users, so that nobody needs to hold all rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features._crowd import Crowd
from recsys.features._describe import as_numbers, born_by
from recsys.features._recency import weights_by_day
from recsys.matrix import UNSEEN
from recsys.schema import FACTORS_ONLY, ITEM, TIME, USER

KIND, PLACE = "kind", "place"
EVERYONE, USERS = "everyone", "users"
SUCCESSES, TRIALS, EXPECTED, POSITIVE = "successes", "trials", "expected", "positive"
SUMS = (SUCCESSES, TRIALS, EXPECTED)
Kernel: TypeAlias = Callable[[pl.DataFrame], pl.DataFrame]


class Holder(Protocol):
    """Whoever holds the rows that were known before a cut."""

    def combine(self, kernel: Kernel, how: Mapping[str, str]) -> pl.DataFrame:
        """Apply a function to some users' rows after the other's, and combine what it gives.

        Parameters
        ----------
        kernel : callable
            Rows, sorted by time, user and item -> `kind`, `place` and the columns of `how`. Of the rows, users are
            ids; items, creators and categories places in the indices of the whole log.
        how : mapping of str to {"sum", "min", "median", "last"}
            By column. The last is that of the greatest `time`, then `user`: the function gives these too.

        Returns
        -------
        polars.DataFrame
            One row a kind and place.

        """
        ...


@dataclass(frozen=True)
class PositiveValues:
    """Rows -> the positive values of signals."""

    signals: tuple[str, ...]

    def __call__(self, known: pl.DataFrame) -> pl.DataFrame:
        """Give one row a value."""
        values = [
            known.select(
                pl.lit(name).alias(KIND),
                pl.lit(0, pl.Int32).alias(PLACE),
                pl.col(name).cast(pl.Float64).alias("value"),
            ).filter(pl.col("value") > 0)
            for name in self.signals
        ]
        return pl.concat(values)


@dataclass(frozen=True)
class CountExposures:
    """Rows -> how often each item, creator and category was shown and met success, and everyone."""

    cut: datetime
    units: dict[str, float]
    kinds: tuple[str, ...]

    @property
    def how(self) -> dict[str, str]:
        """How its columns are combined."""
        counts = [f"{what}:{name}" for name in self.units for what in (SUCCESSES, TRIALS, POSITIVE)]
        sums = ["rows", "shown", "weight", "ln_rows", "ln_shown", *counts]
        return dict.fromkeys(sums, "sum") | {"age": "min"}

    def __call__(self, known: pl.DataFrame) -> pl.DataFrame:
        """Count the rows of some users."""
        rows = self._rows(known)
        wholes = [column for column in rows.columns if column not in (USER, *self.kinds, "age")]
        added = [*(pl.sum(name) for name in wholes), pl.min("age")]
        tables = [
            rows.filter(pl.col(kind) != UNSEEN)
            .group_by(pl.col(kind).alias(PLACE))
            .agg(added)
            .with_columns(pl.lit(kind).alias(KIND))
            for kind in self.kinds
        ]
        for kind, table in {EVERYONE: rows.select(added), USERS: _count_users(rows)}.items():
            tables.append(table.with_columns(pl.lit(kind).alias(KIND), pl.lit(0, pl.Int32).alias(PLACE)))
        found = pl.concat(tables, how="diagonal").with_columns(pl.col(name).fill_null(0) for name in self.how)
        return found.select(KIND, PLACE, *self.how)

    def _rows(self, known: pl.DataFrame) -> pl.DataFrame:
        shown = ~known[FACTORS_ONLY].to_numpy()
        weights, ages = weights_by_day(known[TIME], self.cut), weights_by_day(born_by(known), self.cut)
        columns = {"rows": np.ones(len(known)), "shown": shown.astype(float)}
        columns |= {"weight": np.where(shown, weights, 0.0), "age": np.where(shown, ages, 1.0)}
        for name, unit in self.units.items():
            values = as_numbers(known, name)
            is_known = shown & ~np.isnan(values)
            columns[f"{SUCCESSES}:{name}"] = (is_known & (values >= unit)).astype(float)
            columns[f"{TRIALS}:{name}"] = is_known.astype(float)
            columns[f"{POSITIVE}:{name}"] = (values > 0).astype(float)
        return known.select(USER, *self.kinds).with_columns(**{n: pl.Series(c) for n, c in columns.items()})


def _count_users(rows: pl.DataFrame) -> pl.DataFrame:
    by_user = rows.group_by(USER).agg(pl.sum("rows", "shown"))
    return by_user.select(
        pl.len().cast(pl.Float64).alias("rows"),
        pl.col("rows").log1p().sum().alias("ln_rows"),
        pl.col("shown").log1p().sum().alias("ln_shown"),
    )


@dataclass(frozen=True)
class Counted:
    """What `CountExposures` gave, of everyone.

    Attributes
    ----------
    table : polars.DataFrame

    """

    table: pl.DataFrame

    def whole(self, kind: str, column: str) -> float:
        """Take one number of everyone, or of all users."""
        return float(self.table.row(by_predicate=pl.col(KIND) == kind, named=True)[column])

    def known(self, kind: str) -> NDArray[np.int32]:
        """List the places that occur, ascending."""
        return self.table.filter(pl.col(KIND) == kind)[PLACE].sort().to_numpy()

    def column(self, kind: str, name: str) -> NDArray[np.float64]:
        """Take a column of the entities that occur, by place."""
        return self.table.filter(pl.col(KIND) == kind).sort(PLACE)[name].cast(pl.Float64).to_numpy()

    def counts(self, kind: str, name: str) -> NDArray[np.int64]:
        """Take a column of whole numbers."""
        return self.column(kind, name).round().astype(np.int64)

    @property
    def shown(self) -> str:
        """Name the column of exposures; where nothing is known to have been shown, likes say what was met."""
        return "shown" if self.whole(EVERYONE, "shown") else "rows"


@dataclass(frozen=True)
class LastLinks:
    """Rows -> each item's last known creator and category."""

    kinds: tuple[str, ...]

    def __call__(self, known: pl.DataFrame) -> pl.DataFrame:
        """Give one row a kind and item."""
        tables = [
            known.filter(pl.col(kind) != UNSEEN)
            .group_by(ITEM, maintain_order=True)
            .agg(pl.col(TIME, USER, kind).last())
            .select(
                pl.lit(kind).alias(KIND),
                pl.col(ITEM).alias(PLACE),
                pl.col(TIME).alias("time"),
                pl.col(USER).alias("user"),
                pl.col(kind).alias("linked"),
            )
            for kind in self.kinds
        ]
        return pl.concat(tables)


@dataclass(frozen=True)
class SumExpected:
    """Rows -> successes of each entity of one kind, trials, and successes that the kinds before it lead to expect."""

    crowd: Crowd
    kind: str

    @property
    def how(self) -> dict[str, str]:
        """How its columns are combined."""
        return {f"{what}:{name}": "sum" for name in self.crowd.outcomes for what in SUMS}

    def __call__(self, known: pl.DataFrame) -> pl.DataFrame:
        """Count the rows of some users."""
        seen = self.crowd.look_at(known)
        columns: dict[str, NDArray[np.float64]] = {}
        size = len(self.crowd.indices[self.kind])
        for name in self.crowd.outcomes:
            trials = seen.of(name)
            expectation, _ = trials.expect()
            sums = expectation.sums(trials.places(self.kind), size)
            columns |= {f"{what}:{name}": values for what, values in zip(SUMS, sums, strict=True)}
        places = pl.Series(PLACE, np.arange(size, dtype=np.int32))
        found = pl.DataFrame({KIND: pl.repeat(self.kind, size, eager=True), PLACE: places, **columns})
        return found.filter(pl.any_horizontal(pl.col(f"{TRIALS}:{name}") > 0 for name in self.crowd.outcomes))
