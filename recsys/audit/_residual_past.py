"""All behaviour up to and including an exposure, as features of that exposure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.schema import CATEGORY, CREATOR, ITEM, LIKED, TIME, USER

#: Exposures that the mean of all weighs in a shrunk one.
PRIOR_EXPOSURES = 10.0
_PIECES = 7
_CUBIC = 3
_Floats = NDArray[np.float64]


def describe_past(rows: pl.DataFrame, behaviour: Sequence[str]) -> _Floats:
    """Describe every exposure by what was known of it just after it, this exposure's press excepted.

    Parameters
    ----------
    rows : polars.DataFrame of n rows
        Exposures.
    behaviour : sequence of str
        Non-negative numbers; null is unknown.

    Returns
    -------
    ndarray of float64, shape (n, d)
        Of each number x of this exposure ``ln(1 + x)``, a cubic spline of it where it takes more than a few
        values, and whether it is unknown. Of earlier exposures the mean ``ln(1 + x)`` of the user, the item, its
        creator and its category, and the user's mean on that creator and category less the user's mean; the like
        rates of the user (habit), the item, its creator and its category (crowd); how many there were.

    Notes
    -----
    Earlier means at an earlier time. Means are ``(sum + 10 m) / (n + 10)``, m the mean of all, or the user's. A
    like or outcome that arrived late counts from its exposure on. The user's likes by creator or category are left
    out: they are presses, and would stand for the one in question.

    """
    seen = [f"ln {name}" for name in behaviour]
    table = rows.select(
        *(name for name in (USER, ITEM, CATEGORY, CREATOR, TIME) if name in rows.columns),
        *((1 + pl.col(name)).log().alias(seen_as) for name, seen_as in zip(behaviour, seen, strict=True)),
        pl.col(LIKED).cast(pl.Float64),
    )
    columns = [column for name in seen for column in _this_exposure(table[name])]
    return np.column_stack([*columns, *_earlier_exposures(table, [*seen, LIKED])])


def _this_exposure(values: pl.Series) -> list[_Floats]:
    known = values.drop_nulls()
    mean = float(known.mean() or 0.0)  # type: ignore[arg-type]
    column = values.fill_null(mean).to_numpy()
    unknown = values.is_null().to_numpy().astype(np.float64)
    return [column, unknown, *_spline(column)]


def _spline(column: _Floats) -> list[_Floats]:
    """Bend a column between its quantiles; a flag is straight already."""
    knots = np.unique(np.quantile(column, np.linspace(0, 1, _PIECES + 1), method="lower"))
    if len(knots) <= _CUBIC:
        return []
    ends = [knots[0]] * _CUBIC, [knots[-1]] * _CUBIC
    # It takes long to import, and most commands need none of it.
    from scipy.interpolate import BSpline

    basis = BSpline.design_matrix(column, np.concatenate([ends[0], knots, ends[1]]), _CUBIC)
    return list(basis.toarray().T)


def _earlier_exposures(table: pl.DataFrame, names: list[str]) -> list[_Floats]:
    overall = {name: float(table[name].mean() or 0.0) for name in names}  # type: ignore[arg-type]
    user = _Earlier(table, [USER], names)
    habits = user.means(overall)
    columns = [*habits.values(), user.ln_count]
    for kind in (ITEM, CATEGORY, CREATOR):
        if kind in table.columns:
            crowd = _Earlier(table, [kind], names)
            columns += [*crowd.means(overall).values(), crowd.ln_count]
    for kind in (CATEGORY, CREATOR):
        if kind in table.columns:
            pair = _Earlier(table, [USER, kind], [name for name in names if name != LIKED])
            columns += [mean - habits[name] for name, mean in pair.means(habits).items()]
            columns.append(pair.ln_count)
    return columns


class _Earlier:
    """Sums over the exposures of the same kind at earlier times."""

    def __init__(self, table: pl.DataFrame, by: list[str], names: list[str]) -> None:
        counts = [f"known {name}" for name in names]
        at_once = table.group_by(*by, TIME).agg(
            pl.len().alias("met"),
            pl.col(names).sum(),
            *(pl.col(name).count().alias(count) for name, count in zip(names, counts, strict=True)),
        )
        added = pl.col("met", *names, *counts)
        before = at_once.sort(TIME).with_columns(added.cum_sum().over(by) - added)
        self._names = names
        self._sums = table.select(*by, TIME).join(
            before, on=[*by, TIME], how="left", nulls_equal=True, maintain_order="left"
        )

    def means(self, priors: Mapping[str, float | _Floats]) -> dict[str, _Floats]:
        """Shrink each mean towards its prior, shape (n,)."""
        return {name: self._mean(name, priors[name]) for name in self._names}

    def _mean(self, name: str, prior: float | _Floats) -> _Floats:
        total, known = self._sums[name].to_numpy(), self._sums[f"known {name}"].to_numpy()
        return np.asarray((total + PRIOR_EXPOSURES * prior) / (known + PRIOR_EXPOSURES))

    @property
    def ln_count(self) -> _Floats:
        return np.asarray(np.log1p(self._sums["met"].to_numpy().astype(np.float64)))
