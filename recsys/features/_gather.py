"""Sums over batches of users -> a crowd: nobody needs to hold all rows.

Whoever holds the rows hands them to a function in batches, every user's all in one, and combines the tables that it
gives. How much users differ is fitted on a sample of them; all else is of everyone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features._crowd import Crowd, Outcome, Trials
from recsys.features._describe import Told, as_numbers, born_by, build_table, ln_exposures
from recsys.features._effects import LINKS, Effects, effects_precision, rate_of, shrunk_effects
from recsys.features._names import COUNT, LATELY, NEWNESS, TREND
from recsys.features._rates import fit_beta_binomial, shrunk_log_odds
from recsys.features._recency import trends_of, weights_by_day
from recsys.matrix import UNSEEN, IdIndex
from recsys.schema import FACTORS_ONLY, ITEM, LIKED, TIME, USER

KIND, PLACE = "kind", "place"
_EVERYONE, _USERS = "everyone", "users"
_SUMS, _POSITIVE = ("successes", "trials", "expected"), "positive"
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


def gather_crowd(
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
        The rows of a sample of users, as kernels get them.
    cut : datetime.datetime
    signals : tuple of str
    numbered : mapping of str to IdIndex
        Items, creators and categories of the whole log.
    half_life : float
        In exposures of a user.

    Returns
    -------
    Crowd

    """
    units = {LIKED: 1.0, **_find_units(holder, signals)}
    counting = CountExposures(cut, units, tuple(numbered))
    counted = Counted(
        holder.combine(counting, counting.how), {kind: len(one) for kind, one in numbered.items()}
    )
    crowd = _begin(counted, cut, units, numbered, half_life)
    crowd = replace(crowd, links=_find_links(holder, crowd))
    crowd = _fit(crowd, sample, _fit_users)
    for kind in (*(kind for kind in LINKS if kind in numbered), ITEM):
        crowd = _add_effects(holder, crowd, kind)
    crowd = _fit(crowd, sample, _fit_pairs)
    told = {
        name: Told(one.rates, np.zeros(1), Effects(one.effects, {})) for name, one in crowd.outcomes.items()
    }
    tables = {
        kind: build_table(kind, index, told, crowd.exposures[kind]) for kind, index in crowd.indices.items()
    }
    return replace(crowd, tables=tables)


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


def _find_units(holder: Holder, signals: tuple[str, ...]) -> dict[str, float]:
    units = dict.fromkeys(signals, 1.0)
    if signals:
        found = holder.combine(PositiveValues(signals), {"value": "median"})
        units |= dict(zip(found[KIND], found["value"], strict=True))
    return units


@dataclass(frozen=True)
class CountExposures:
    """Rows -> how often each item, creator and category was shown and met success, and everyone."""

    cut: datetime
    units: dict[str, float]
    kinds: tuple[str, ...]

    @property
    def how(self) -> dict[str, str]:
        """How its columns are combined."""
        counts = [f"{what}:{name}" for name in self.units for what in (*_SUMS[:2], _POSITIVE)]
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
        everyone = rows.select(added)
        by_user = rows.group_by(USER).agg(pl.sum("rows", "shown"))
        users = by_user.select(
            pl.len().cast(pl.Float64).alias("rows"),
            pl.col("rows").log1p().sum().alias("ln_rows"),
            pl.col("shown").log1p().sum().alias("ln_shown"),
        )
        for kind, table in {_EVERYONE: everyone, _USERS: users}.items():
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
            columns[f"successes:{name}"] = (is_known & (values >= unit)).astype(float)
            columns[f"trials:{name}"] = is_known.astype(float)
            columns[f"{_POSITIVE}:{name}"] = (values > 0).astype(float)
        return known.select(USER, *self.kinds).with_columns(**{n: pl.Series(c) for n, c in columns.items()})


@dataclass(frozen=True)
class Counted:
    """What `CountExposures` gave, of everyone.

    Attributes
    ----------
    table : polars.DataFrame
    sizes : dict of str to int
        Of the indices of the whole log.

    """

    table: pl.DataFrame
    sizes: dict[str, int]

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
        return "shown" if self.whole(_EVERYONE, "shown") else "rows"


def _begin(
    counted: Counted,
    cut: datetime,
    units: dict[str, float],
    numbered: Mapping[str, IdIndex],
    half_life: float,
) -> Crowd:
    """Take what counts tell."""
    indices, anew = {}, {}
    for kind, index in numbered.items():
        known = counted.known(kind)
        indices[kind] = IdIndex(index.ids.gather(known))
        anew[kind] = np.full(len(index) + 1, UNSEEN, np.int32)
        anew[kind][known] = np.arange(len(known), dtype=np.int32)
    outcomes = {
        name: Outcome(
            unit,
            int(counted.whole(_EVERYONE, f"{_POSITIVE}:{name}")),
            rate_of(*(counted.whole(_EVERYONE, f"{what}:{name}") for what in _SUMS[:2])),
            {
                kind: shrunk_log_odds(*(counted.counts(kind, f"{w}:{name}") for w in _SUMS[:2]))
                for kind in numbered
            },
        )
        for name, unit in units.items()
    }
    users = counted.whole(_USERS, "rows")
    mean_ln_exposures = counted.whole(_USERS, f"ln_{counted.shown}") / users
    return Crowd(
        cut,
        half_life,
        indices,
        anew,
        {},
        outcomes,
        {kind: _describe(counted, kind) for kind in numbered},
        counted.shown == "shown",
        mean_ln_exposures,
    )


def _describe(counted: Counted, kind: str) -> dict[str, NDArray[np.float64]]:
    columns = {COUNT: ln_exposures(counted.counts(kind, counted.shown))}
    if kind == ITEM:
        shown = counted.whole(_EVERYONE, "shown")
        mean_weight = counted.whole(_EVERYONE, "weight") / max(shown, 1)
        trends = trends_of(counted.column(kind, "weight"), counted.counts(kind, "shown"), mean_weight)
        columns |= {NEWNESS: np.append(counted.column(kind, "age"), 1.0), TREND: np.append(trends, 0.0)}
    return columns


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


def _find_links(holder: Holder, crowd: Crowd) -> dict[str, NDArray[np.int32]]:
    kinds = tuple(kind for kind in LINKS if kind in crowd.indices)
    links = {kind: np.full(len(crowd.indices[ITEM]) + 1, UNSEEN, np.int32) for kind in kinds}
    if kinds:
        found = holder.combine(LastLinks(kinds), {"linked": "last"})
        for kind in kinds:
            of_kind = found.filter(pl.col(KIND) == kind)
            items = crowd.anew[ITEM][of_kind[PLACE].to_numpy()]
            links[kind][items] = crowd.anew[kind][of_kind["linked"].to_numpy()]
    return links


def _fit(crowd: Crowd, sample: pl.DataFrame, fit: Callable[[Trials], Outcome]) -> Crowd:
    """Fit how much users differ on a sample of them."""
    seen = crowd.look_at(sample)
    return replace(crowd, outcomes={name: fit(seen.of(name)) for name in crowd.outcomes})


def _fit_users(trials: Trials) -> Outcome:
    outcome, (successes, tried) = trials.outcome, trials.counts()
    precisions = {
        USER: effects_precision(
            *(np.asarray(one, np.float64) for one in (successes, tried, tried * outcome.rate))
        ),
        LATELY: effects_precision(*trials.late_sums()),
    }
    return replace(outcome, prior=fit_beta_binomial(successes, tried), precisions=precisions)


def _fit_pairs(trials: Trials) -> Outcome:
    expectation, _ = trials.expect()
    precisions = dict(trials.outcome.precisions)
    for kind, (codes, size) in trials.pairs().items():
        precisions[kind] = effects_precision(*expectation.sums(codes, size))
        expectation.add(codes, size, precisions[kind])
    return replace(trials.outcome, precisions=precisions)


@dataclass(frozen=True)
class SumExpected:
    """Rows -> successes of each entity of one kind, trials, and successes that the kinds before it lead to expect."""

    crowd: Crowd
    kind: str

    @property
    def how(self) -> dict[str, str]:
        """How its columns are combined."""
        return {f"{what}:{name}": "sum" for name in self.crowd.outcomes for what in _SUMS}

    def __call__(self, known: pl.DataFrame) -> pl.DataFrame:
        """Count the rows of some users."""
        seen = self.crowd.look_at(known)
        columns: dict[str, NDArray[np.float64]] = {}
        size = len(self.crowd.indices[self.kind])
        for name in self.crowd.outcomes:
            trials = seen.of(name)
            expectation, _ = trials.expect()
            sums = expectation.sums(trials.places(self.kind), size)
            columns |= {f"{what}:{name}": values for what, values in zip(_SUMS, sums, strict=True)}
        places = pl.Series(PLACE, np.arange(size, dtype=np.int32))
        found = pl.DataFrame({KIND: pl.repeat(self.kind, size, eager=True), PLACE: places, **columns})
        return found.filter(pl.any_horizontal(pl.col(f"trials:{name}") > 0 for name in self.crowd.outcomes))


def _add_effects(holder: Holder, crowd: Crowd, kind: str) -> Crowd:
    """Estimate what each entity of a kind adds to what came before it."""
    kernel = SumExpected(crowd, kind)
    found, outcomes = holder.combine(kernel, kernel.how), {}
    for name, one in crowd.outcomes.items():
        sums = [np.zeros(len(crowd.indices[kind])) for _ in _SUMS]
        for whole, what in zip(sums, _SUMS, strict=True):
            whole[found[PLACE].to_numpy()] = found[f"{what}:{name}"].to_numpy()
        outcomes[name] = replace(one, effects={**one.effects, kind: shrunk_effects(*sums)})
    return replace(crowd, outcomes=outcomes)
