"""How presses follow dwell: a conditional logit within user, so that habit cancels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.audit._rows import AuditRows
from recsys.features import as_numbers
from recsys.matrix import distinct_codes
from recsys.schema import DWELL

#: Non-likes of the same stratum that each like is compared with.
CONTROLS = 10
_INNER_KNOTS = (0.1, 0.3, 0.5, 0.7, 0.9)
_MOST_LIKES = 50_000
_LEAST_KNOWN = 0.5
_RIDGE = 1.0
_STEPS = 50


@dataclass(frozen=True)
class Given:
    """What placebo likes hold fixed of the behaviour on an exposure.

    Attributes
    ----------
    name : str
        `dwell`; `flags, not dwell`; or `nothing`.
    log_odds : ndarray of float64, shape (n,)
        Of a press on each known row, up to a constant for each user on each side of the calibrate cut.

    """

    name: str
    log_odds: NDArray[np.float64]


def follow_dwell(rows: AuditRows, signals: tuple[str, ...], seed: int) -> Given:
    """Fit how presses follow dwell, or the flags where dwell is not known.

    Parameters
    ----------
    rows : AuditRows
    signals : tuple of str
        Those with enough rows before the calibrate window.
    seed : int
        Of the non-likes that likes are compared with.

    Returns
    -------
    Given

    """
    known = rows.known
    if _knows_dwell(known):
        name, design = "dwell", _spline(as_numbers(known, DWELL))
    elif signals:
        name, design = "flags, not dwell", np.column_stack([_flag(as_numbers(known, one)) for one in signals])
    else:
        return Given("nothing", np.zeros(len(known)))
    strata = distinct_codes(pl.Series(rows.users.astype(np.int64) * 2 + rows.late))
    return Given(name, design @ fit_conditional_logit(design, rows.liked, strata, seed))


def _knows_dwell(known: pl.DataFrame) -> bool:
    """Say whether dwell is there as a number: of one value it tells nothing, and of two it is a flag."""
    if DWELL not in known.columns:
        return False
    told = known[DWELL].drop_nulls()
    return len(told) / len(known) >= _LEAST_KNOWN and told.n_unique() > 2


def fit_conditional_logit(
    design: NDArray[np.float64], liked: NDArray[np.bool_], strata: NDArray[np.int32], seed: int
) -> NDArray[np.float64]:
    """Fit the log-odds of a press by comparing each like with ten non-likes of its stratum.

    Parameters
    ----------
    design : ndarray of float64, shape (n, d)
    liked : ndarray of bool, shape (n,)
    strata : ndarray of int32, shape (n,)
        Codes: a user on one side of the calibrate cut.
    seed : int

    Returns
    -------
    ndarray of float64, shape (d,)
        Weights; a stratum's own level cancels.

    Notes
    -----
    Maximises ``sum_i log(exp x_i w / sum_{k in set i} exp x_k w) - |w|^2 / 2`` by Newton steps; the set of a like
    is itself and its controls, drawn with replacement. Likes whose stratum holds no unliked row say nothing; at
    most 50,000 likes are used, drawn at random.

    References
    ----------
    McFadden (1978). Modelling the choice of residential location.

    """
    rng = np.random.default_rng(seed)
    likes = np.flatnonzero(liked)
    if len(likes) > _MOST_LIKES:
        likes = np.sort(rng.choice(likes, _MOST_LIKES, replace=False))
    others = np.flatnonzero(~liked)
    others = others[np.argsort(strata[others], kind="stable")]
    begins, ends = (np.searchsorted(strata[others], strata[likes], side=side) for side in ("left", "right"))
    likes, begins, ends = (one[ends > begins] for one in (likes, begins, ends))
    weights = np.zeros(design.shape[1])
    if not len(likes):
        return weights
    chosen = begins[:, None] + (rng.random((len(likes), CONTROLS)) * (ends - begins)[:, None]).astype(
        np.int64
    )
    # What a control has beyond its like, shape (likes, CONTROLS, d): the like itself is the zero of each set.
    beyond = design[others[chosen]] - design[likes][:, None, :]
    return _maximise(beyond, weights)


def _maximise(beyond: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    for _ in range(_STEPS):
        utility = np.minimum(beyond @ weights, 500.0)
        odds = np.exp(utility)
        p = odds / (1.0 + odds.sum(axis=1, keepdims=True))
        mean = np.einsum("lc,lcd->ld", p, beyond)
        gradient = -mean.sum(axis=0) - _RIDGE * weights
        hessian = np.einsum("lc,lcd,lce->de", p, beyond, beyond, optimize=True) - mean.T @ mean
        step = np.linalg.solve(hessian + _RIDGE * np.eye(len(weights)), gradient)
        weights = weights + step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _spline(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bend ln(1 + dwell) between its quantiles, and say where it is unknown, shape (n, inner knots + 4).

    Of one value everywhere only the latter is left, shape (n, 1).
    """
    unknown = np.isnan(seconds)
    x = np.log1p(np.where(unknown, 0.0, seconds))
    inner = np.unique(np.quantile(x[~unknown], _INNER_KNOTS))
    low, high = x[~unknown].min(), x[~unknown].max()
    if high <= low:
        return unknown[:, None].astype(np.float64)
    inner = inner[(inner > low) & (inner < high)]
    knots = np.concatenate([np.full(4, low), inner, np.full(4, high)])
    # It takes long to import, and most commands need none of it.
    from scipy.interpolate import BSpline

    basis = BSpline.design_matrix(np.clip(x, low, high), knots, 3).toarray()[:, 1:]
    basis[unknown] = 0.0
    return np.column_stack([basis, unknown])


def _flag(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give ln(1 + signal), 0 where it is unknown, and whether it is, shape (n, 2)."""
    unknown = np.isnan(values)
    return np.column_stack([np.log1p(np.where(unknown, 0.0, values)), unknown])
