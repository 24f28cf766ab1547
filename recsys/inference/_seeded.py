"""Differences of losses whose models were drawn too: ALS starts and placebo likes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from recsys.errors import UsageError
from recsys.inference._checks import FloatArray, as_values
from recsys.inference._clustered import TwoWay
from recsys.inference._estimate import Estimate


@dataclass(frozen=True)
class SeededDifference:
    """A mean difference of losses, with the noise of test rows, of ALS starts and of placebo draws.

    Attributes
    ----------
    value : float
        In the unit of the losses over `scale`; above 0 the second set of models is better.
    standard_error : float
        In the same unit.
    degrees_of_freedom : float
        Satterthwaite's.

    Examples
    --------
    >>> found = SeededDifference(2.0, 1.0, math.inf)
    >>> round(found.bound(0.05), 3), round(found.p_value, 4)
    (0.355, 0.0228)

    """

    value: float
    standard_error: float
    degrees_of_freedom: float

    def bound(self, tail: float) -> float:
        """Give the one-sided bound that the truth lies below with probability `tail`: 0.05 lower, 0.95 upper."""
        return self.value - self.standard_error * _t_quantile(1 - tail, self.degrees_of_freedom)

    @property
    def interval(self) -> Estimate:
        """Two-sided, 95 %."""
        return Estimate(self.value, self.bound(0.025), self.bound(0.975))

    @property
    def p_value(self) -> float:
        """One-sided: of a difference as high as this where the truth is 0."""
        if not self.standard_error:
            return float(self.value <= 0)
        return _t_tail(self.value / self.standard_error, self.degrees_of_freedom)

    def as_dict(self) -> dict[str, float | None]:
        """Give the value, its two-sided interval, its one-sided bounds and its error as JSON can hold them."""
        figures = {
            **self.interval.as_dict(),
            "lower": self.bound(0.05),
            "upper": self.bound(0.95),
            "standard_error": self.standard_error,
            "p_value": self.p_value,
        }
        return {
            name: one if one is not None and math.isfinite(one) else None for name, one in figures.items()
        }


def seeded_difference(
    losses: npt.ArrayLike,
    other_losses: npt.ArrayLike,
    users: npt.ArrayLike,
    items: npt.ArrayLike,
    *,
    scale: float = 1.0,
    realised: bool = False,
) -> SeededDifference:
    """Estimate how much higher the mean loss of some models is than that of others, on the same rows.

    Parameters
    ----------
    losses, other_losses : array_like of float, shape (k, n) and (m, n)
        A row a seed, a column an exposure.
    users, items : array_like of int, shape (n,)
        Codes.
    scale : float, optional
        What the difference is divided by, usually the entropy of the outcome.
    realised : bool, optional
        The others were fitted on the likes that came about, and the first on draws of likes that might have.

    Returns
    -------
    SeededDifference
        Of ``mean(losses) - mean(other_losses)``, over `scale`.

    Raises
    ------
    UsageError
        When the losses, users and items are not of equally many rows, or a loss is not finite.

    Notes
    -----
    ``V = V_cluster + a_1 / k + a_2 / m + [realised] max(0, a_1 - a_2)``. V_cluster is two-way, by user and item,
    of the difference of mean losses. ``a = max(0, s^2 - mean over pairs of V_cluster(loss_i - loss_j) / 2)``: the
    variance between seeds less what test rows alone would make of it; 0 with one seed. The last term stands for the
    realised likes being one draw. Degrees of freedom by Satterthwaite, users less one for the first part; a_1 stands
    in two places, so that its weights are added before they are squared, and an a that is not 0 is as unsure as its
    s^2: ``V^2 / (V_cluster^2 / (users - 1) + ((1 / k + 1) s_1^2)^2 / (k - 1) + ((1 / m - 1) s_2^2)^2 / (m - 1))``, the
    ones only where the last term of V is above 0, and never less than the least of its parts.

    References
    ----------
    Satterthwaite (1946). An approximate distribution of estimates of variance components. Biometrics 2(6).

    """
    first, second = (as_values("losses", np.atleast_2d(one), 2) for one in (losses, other_losses))
    if first.shape[1] != second.shape[1]:
        raise UsageError(f"losses must be of the same rows, got {first.shape[1]} and {second.shape[1]}")
    shared = TwoWay.of(users, items, first.shape[1])
    difference = first.mean(axis=0) - second.mean(axis=0)
    clustered = shared.standard_error(difference) ** 2
    (a_first, raw_first), (a_second, raw_second) = (_spread(one, shared) for one in (first, second))
    k, m = len(first), len(second)
    once = float(realised and a_first > a_second)
    of_first, of_second = 1 / k + once, 1 / m - once
    variance = clustered + of_first * a_first + of_second * a_second
    parts = [
        (clustered, float(shared.users.max())),
        (of_first * raw_first, k - 1.0),
        (of_second * raw_second, m - 1.0),
    ]
    unsure = [(part, freedom) for part, freedom in parts if part and freedom > 0]
    freedom = math.inf
    if unsure:
        spread = sum(part**2 / freedom for part, freedom in unsure)
        freedom = max(variance**2 / spread, min(freedom for _, freedom in unsure))
    return SeededDifference(float(difference.mean()) / scale, math.sqrt(variance) / scale, freedom)


def between_seeds(losses: FloatArray, users: npt.ArrayLike, items: npt.ArrayLike) -> float:
    """Estimate the variance of a model's mean loss between seeds, test rows held fixed.

    Parameters
    ----------
    losses : ndarray of float64, shape (k, n)
    users, items : array_like of int, shape (n,)

    Returns
    -------
    float
        At least 0; 0 with one seed.

    """
    return _spread(losses, TwoWay.of(users, items, losses.shape[1]))[0]


def _spread(losses: FloatArray, shared: TwoWay) -> tuple[float, float]:
    """Give the variance between seeds, and with it what it is the rest of; both 0 where it is not above 0."""
    if len(losses) < 2:
        return 0.0, 0.0
    noise = [shared.standard_error(one - other) ** 2 / 2 for one, other in combinations(losses, 2)]
    raw = float(losses.mean(axis=1).var(ddof=1))
    rest = raw - float(np.mean(noise))
    return (rest, raw) if rest > 0 else (0.0, 0.0)


def adjust_holm(p_values: npt.ArrayLike) -> FloatArray:
    """Adjust p-values for several named tests (Holm).

    Parameters
    ----------
    p_values : array_like of float, shape (k,)

    Returns
    -------
    ndarray of float64, shape (k,)
        Below 0.05 where the test holds with the others beside it.

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6(2).

    Examples
    --------
    >>> adjust_holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]

    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    stepped = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    adjusted = np.empty(values.size)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _t_quantile(level: float, freedom: float) -> float:
    return float(stdtrit(min(freedom, 1e9), level))


def _t_tail(t: float, freedom: float) -> float:
    return float(stdtr(min(freedom, 1e9), -t))
