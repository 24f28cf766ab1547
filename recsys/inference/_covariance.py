"""Whether two things still move together once both are predicted from the same past."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from recsys.errors import UsageError
from recsys.inference._checks import FloatArray, as_dense_codes, as_values
from recsys.inference._estimate import Estimate

_TWO_SIDED_95 = float(ndtri(0.975))


@dataclass(frozen=True)
class Covariance:
    """What is left in common of two predicted columns.

    Attributes
    ----------
    effect : Estimate
        How much z rises with y by one, beyond what predicts either; in the unit of z over that of y.
    statistic : float
        Standard normal where nothing is left in common; NaN where it cannot be told.
    p_value : float
        Two-sided.

    """

    effect: Estimate
    statistic: float
    p_value: float


def generalised_covariance(
    y: npt.ArrayLike, y_hat: npt.ArrayLike, z: npt.ArrayLike, z_hat: npt.ArrayLike, users: npt.ArrayLike
) -> Covariance:
    """Measure what y tells of z beyond what predicts both.

    Parameters
    ----------
    y, z : array_like of float, shape (n,)
    y_hat, z_hat : array_like of float, shape (n,)
        Their means given the same past, predicted for users that the predictors were not fitted on.
    users : array_like of int, shape (n,)
        Codes. Rows of one user may hang together in any way.

    Returns
    -------
    Covariance
        NaN interval, statistic and p-value with fewer than two users, or where nothing is left of y or z;
        NaN throughout where nothing is left of y.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, or a value is not finite.

    Notes
    -----
    With ``e = y - y_hat``, ``R = e (z - z_hat)`` and sums S_u over a user's rows::

        T = sum R / sqrt(sum_u S_u(R)^2),   p = 2 Phi(-|T|)
        effect = b = sum R / sum e^2,   SE = sqrt(sum_u S_u(R - b e^2)^2) / sum e^2

    T tests with the variance at b = 0, the interval has that at b, so that near 5 % they may disagree. T is
    normal where the product of both prediction errors vanishes faster than ``1 / sqrt(n)``: neither predictor has
    to be exact, but both may not miss the same thing. No small-sample factor: with fewer than about 50 users it
    is too sure.

    References
    ----------
    Shah, R. D., Peters, J. (2020). The hardness of conditional independence testing and the generalised
    covariance measure. Annals of Statistics 48(3). https://doi.org/10.1214/19-AOS1857

    Examples
    --------
    >>> found = generalised_covariance([1, 0, 1, 0], [0.5] * 4, [0.75, 0.25, 0.5, 0.5], [0.5] * 4, [1, 1, 2, 3])
    >>> found.effect.value, found.statistic
    (0.25, 1.0)

    """
    left = _residuals("y", y, y_hat)
    right = _residuals("z", z, z_hat)
    if left.shape != right.shape:
        raise UsageError(f"y and z must have the same rows, got {left.size} and {right.size}")
    codes = as_dense_codes("users", users, left.size)
    products, total = left * right, float(left @ left)
    if not total:
        return Covariance(Estimate(math.nan, math.nan, math.nan), math.nan, math.nan)
    effect = float(products.sum()) / total
    by_user = np.bincount(codes, weights=products)
    spread = float(np.linalg.norm(by_user))
    if len(by_user) < 2 or not spread:
        return Covariance(Estimate(effect, math.nan, math.nan), math.nan, math.nan)
    statistic = float(by_user.sum()) / spread
    error = float(np.linalg.norm(np.bincount(codes, weights=products - effect * left**2))) / total
    half = _TWO_SIDED_95 * error
    return Covariance(
        Estimate(effect, effect - half, effect + half), statistic, float(2 * ndtr(-abs(statistic)))
    )


def _residuals(name: str, values: npt.ArrayLike, predicted: npt.ArrayLike) -> FloatArray:
    observed, expected = as_values(name, values), as_values(f"{name}_hat", predicted)
    if observed.shape != expected.shape:
        raise UsageError(
            f"{name} and {name}_hat must have the same rows, got {observed.size} and {expected.size}"
        )
    return observed - expected
