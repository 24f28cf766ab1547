"""How far one sample of numbers has moved from another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recsys.errors import UsageError

_EMPTY = 0.5


def population_stability(expected: npt.ArrayLike, actual: npt.ArrayLike, bins: int = 10) -> float:
    """Measure how far a distribution has moved, by the population stability index.

    Parameters
    ----------
    expected : array_like of float, shape (n,)
        Yesterday's numbers, such as forecasts.
    actual : array_like of float, shape (m,)
        Today's.
    bins : int
        At least 2; cut at the quantiles of `expected`.

    Returns
    -------
    float
        At least 0; 0 is no shift. By custom, above 0.1 is a moderate shift and above 0.25 a large one.

    Raises
    ------
    UsageError
        When a sample is empty or not finite, or there are fewer than two bins.

    Notes
    -----
    ``sum_k (a_k - e_k) ln(a_k / e_k)`` over the shares of the bins: the symmetrised Kullback-Leibler divergence.
    Half a row is added to each bin, so that an empty one costs much and not everything.

    References
    ----------
    Yurdakul, B., Naranjo, J. (2020). Statistical properties of the population stability index. Journal of
    Risk Model Validation 14(4). https://doi.org/10.21314/JRMV.2020.227

    Examples
    --------
    >>> even = np.linspace(0, 1, 1000)
    >>> population_stability(even, even), round(population_stability(even, even**2), 3)
    (0.0, 0.377)
    """
    before, after = (np.asarray(sample, dtype=np.float64).ravel() for sample in (expected, actual))
    if bins < 2:
        raise UsageError(f"bins must be at least 2, got {bins}")
    for name, sample in {"expected": before, "actual": after}.items():
        if not sample.size or not np.isfinite(sample).all():
            raise UsageError(f"{name} must hold finite numbers, and at least one")
    edges = np.unique(np.quantile(before, np.arange(1, bins) / bins))
    e, a = _shares(before, edges), _shares(after, edges)
    return float(((a - e) * np.log(a / e)).sum())


def _shares(sample: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    counts = np.bincount(np.searchsorted(edges, sample), minlength=edges.size + 1) + _EMPTY
    return np.asarray(counts / counts.sum(), dtype=np.float64)
