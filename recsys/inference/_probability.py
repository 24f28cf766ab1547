"""Every figure of a column of probabilities, with its interval, from one bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from recsys.errors import UsageError
from recsys.inference._bootstrap import (
    bootstrap_auc,
    bootstrap_sums,
    divide,
    draw_aucs,
    percentile_interval,
    user_sums,
)
from recsys.inference._checks import FloatArray
from recsys.inference._estimate import Estimate
from recsys.metrics import binary_entropy, log_losses, user_aucs


class _Sum(IntEnum):
    """Columns of the per-user sums."""

    ROWS = 0
    LIKES = 1
    LOSS = 2
    SQUARED_ERROR = 3
    EXCESS = 4  # will_like - liked
    RANKED = 5  # 1 for a user with both labels
    RANKED_ROWS = 6
    AUC = 7
    ROWS_AUC = 8


def probability_metrics(
    users: npt.ArrayLike,
    liked: npt.ArrayLike,
    will_like: npt.ArrayLike,
    *,
    reference_rate: float,
    draws: int,
    seed: int,
) -> dict[str, Estimate]:
    """Estimate how good probabilities are, each figure with its user-clustered 95 % interval.

    Parameters
    ----------
    users : array_like of int, shape (n,)
        Codes, not necessarily dense.
    liked : array_like of bool or 0/1, shape (n,)
    will_like : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1.
    reference_rate : float
        Like rate of the calibration window, strictly between 0 and 1.
    draws : int
        At least 39.
    seed : int

    Returns
    -------
    dict of str to Estimate
        `normalized_entropy` (lower is better, 1 is the base rate of these rows),
        `normalized_entropy_vs_reference` (1 is a forecaster that only knows the reference rate),
        `log_loss` (nats, lower is better), `auc`, `gauc`, `uauc` (in [0, 1], higher is better),
        `brier_skill` (at most 1, higher is better), `bias` (0 is best; 0.1 forecasts 10 % too many likes).
        NaN where these rows leave a figure undefined.

    Raises
    ------
    UsageError
        When lengths differ, no row is given, there are too few draws, or a value is not a code, a label
        or a probability.

    Notes
    -----
    With sums over rows: ``NE = (loss / n) / H(likes / n)``; against the reference the denominator is
    ``-(likes ln r + (n - likes) ln(1 - r)) / n``; ``brier_skill = 1 - sum (p - y)^2 / (n pi (1 - pi))``;
    ``bias = sum (p - y) / likes``. Rates are drawn again with the users. The share of rows that `gauc`
    and `uauc` speak about is ``user_aucs(users, liked, will_like).share_of_rows``.

    References
    ----------
    He, X. et al. (2014). Practical lessons from predicting clicks on ads at Facebook. ADKDD.
    https://doi.org/10.1145/2648584.2648589
    Owen, A. B., Eckles, D. (2012). Bootstrapping data arrays of arbitrary order. Annals of Applied
    Statistics 6(3). https://doi.org/10.1214/12-AOAS547

    Examples
    --------
    >>> users, liked, will_like = [1, 1, 2, 2, 3, 3], [1, 0, 0, 1, 0, 0], [0.6, 0.2, 0.3, 0.4, 0.2, 0.3]
    >>> found = probability_metrics(users, liked, will_like, reference_rate=0.3, draws=99, seed=0)
    >>> round(found["normalized_entropy"].value, 4), found["gauc"].value, round(found["bias"].value, 4)
    (0.6773, 1.0, 0.0)
    """
    if not 0 < reference_rate < 1:
        raise UsageError(f"reference_rate must lie strictly between 0 and 1, got {reference_rate:g}")
    sums = _sum_by_user(users, liked, will_like)
    drawn, totals = bootstrap_sums(sums, draws, seed), sums.sum(axis=0)
    found = {
        name: percentile_interval(float(figure(totals)), figure(drawn), sums.shape[0])
        for name, figure in _figures(reference_rate).items()
    }
    return found | {"auc": bootstrap_auc(users, liked, will_like, draws, seed)}


def paired_metrics(
    users: npt.ArrayLike,
    liked: npt.ArrayLike,
    will_like: npt.ArrayLike,
    other: npt.ArrayLike,
    *,
    draws: int,
    seed: int,
) -> dict[str, Estimate]:
    """Estimate how much higher each figure of one column of probabilities is than of another, on the same rows.

    Parameters
    ----------
    users, liked, draws, seed
        As in `probability_metrics`.
    will_like, other : array_like of float, shape (n,)
        Probabilities, strictly between 0 and 1; row i of both is the same exposure.

    Returns
    -------
    dict of str to Estimate
        Figure of `will_like` less figure of `other`: `normalized_entropy`, `log_loss` (below 0, `will_like` is better),
        `auc`, `gauc`, `uauc`, `brier_skill` (above 0, it is better), `bias` (it forecasts more likes).

    Raises
    ------
    UsageError
        As `probability_metrics`.

    Notes
    -----
    Each draw weighs the users alike for both, so that what both find hard cancels: see `bootstrap_sums`.

    Examples
    --------
    >>> users, liked, will_like = [1, 1, 2, 2, 3, 3], [1, 0, 0, 1, 0, 0], [0.6, 0.2, 0.3, 0.4, 0.2, 0.3]
    >>> found = paired_metrics(users, liked, will_like, [0.5] * 6, draws=99, seed=0)
    >>> round(found["normalized_entropy"].value, 4), found["gauc"].value
    (-0.4117, 0.5)
    """
    sums = [_sum_by_user(users, liked, column) for column in (will_like, other)]
    drawn = [bootstrap_sums(one, draws, seed) for one in sums]
    totals = [one.sum(axis=0) for one in sums]
    found = {}
    for name, figure in _FIGURES.items():
        value = float(figure(totals[0]) - figure(totals[1]))
        found[name] = percentile_interval(value, figure(drawn[0]) - figure(drawn[1]), sums[0].shape[0])
    (ours, our_draws), (theirs, their_draws) = (
        draw_aucs(users, liked, column, draws, seed) for column in (will_like, other)
    )
    return found | {"auc": percentile_interval(ours - theirs, our_draws - their_draws, sums[0].shape[0])}


def _sum_by_user(users: npt.ArrayLike, liked: npt.ArrayLike, will_like: npt.ArrayLike) -> FloatArray:
    aucs, losses = user_aucs(users, liked, will_like), log_losses(liked, will_like)
    y, p = np.asarray(liked, dtype=np.float64), np.asarray(will_like, dtype=np.float64)
    rows = user_sums(users, np.stack([np.ones(y.size), y, losses, (p - y) ** 2, p - y], axis=1))
    ranked = np.zeros((rows.shape[0], 4))
    kept = np.searchsorted(np.unique(np.asarray(users)), aucs.users)
    ones = np.ones(kept.size)
    ranked[kept] = np.stack([ones, aucs.exposures, aucs.auc, aucs.exposures * aucs.auc], axis=1)
    return np.concatenate([rows, ranked], axis=1)


def _figures(reference_rate: float) -> dict[str, Callable[[FloatArray], FloatArray]]:
    def against_reference(totals: FloatArray) -> FloatArray:
        likes, rows = totals[..., _Sum.LIKES], totals[..., _Sum.ROWS]
        reference = -(likes * np.log(reference_rate) + (rows - likes) * np.log1p(-reference_rate))
        return divide(totals[..., _Sum.LOSS], reference)

    return {**_FIGURES, "normalized_entropy_vs_reference": against_reference}


def _ratio(above: _Sum, below: _Sum) -> Callable[[FloatArray], FloatArray]:
    return lambda totals: divide(totals[..., above], totals[..., below])


def _normalized_entropy(totals: FloatArray) -> FloatArray:
    rate = divide(totals[..., _Sum.LIKES], totals[..., _Sum.ROWS])
    return divide(totals[..., _Sum.LOSS], totals[..., _Sum.ROWS] * binary_entropy(rate))


def _brier_skill(totals: FloatArray) -> FloatArray:
    likes, rows = totals[..., _Sum.LIKES], totals[..., _Sum.ROWS]
    return 1 - divide(totals[..., _Sum.SQUARED_ERROR], likes * divide(rows - likes, rows))


_FIGURES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "normalized_entropy": _normalized_entropy,
    "log_loss": _ratio(_Sum.LOSS, _Sum.ROWS),
    "gauc": _ratio(_Sum.ROWS_AUC, _Sum.RANKED_ROWS),
    "uauc": _ratio(_Sum.AUC, _Sum.RANKED),
    "brier_skill": _brier_skill,
    "bias": _ratio(_Sum.EXCESS, _Sum.LIKES),
}
