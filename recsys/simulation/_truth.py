"""The true probabilities of what may follow an exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit, logit, ndtr

from recsys.simulation._population import affinity
from recsys.simulation._world import World

HALF_WATCHED = 1.8  # the utility at which half of an item is watched
FOLLOW_LOGIT, FOLLOW_SLOPE = -6.0, 0.8
SHARE_LOGIT, SHARE_SLOPE = -5.0, 0.6
_NODES = 32
_MOST_STEPS, _SMALLEST_STEP = 500, 1e-10
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pairs:
    """What decides the outcomes of showing an item to a user.

    Attributes
    ----------
    utility : ndarray of float64, shape (n_pairs,)
    habit : ndarray of float64, shape (n_pairs,)
        Log-odds of a press.
    duration : ndarray of float64, shape (n_pairs,)
        Seconds.
    """

    utility: _Floats
    habit: _Floats
    duration: _Floats


def look_up(
    users: pl.DataFrame, items: pl.DataFrame, user: npt.NDArray[Any], item: npt.NDArray[Any]
) -> Pairs:
    """Gather the truth of pairs.

    Parameters
    ----------
    users, items : polars.DataFrame
        As drawn by `draw_users` and `draw_items`.
    user, item : ndarray of int, shape (n_pairs,)
        Rows.

    Returns
    -------
    Pairs
    """
    fit = affinity(users["taste"].to_numpy(), items["direction"].to_numpy(), user, item)
    return Pairs(
        utility=fit + items["quality"].to_numpy()[item],
        habit=users["habit"].to_numpy()[user].astype(np.float64),
        duration=items["duration_seconds"].to_numpy()[item].astype(np.float64),
    )


def reading(world: World, pairs: Pairs, noise: _Floats | float) -> _Floats:
    """Read utility through noise: at zero, half of the item is watched.

    Parameters
    ----------
    world : World
    pairs : Pairs
    noise : ndarray of float64, shape (n_pairs,), or float
        Standard normal.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
    """
    return pairs.utility - HALF_WATCHED + world.dwell_noise * noise


def dwell_seconds(world: World, pairs: Pairs, noise: _Floats | float) -> _Floats:
    """Time watched, ``duration · expit(reading)``.

    Parameters
    ----------
    world : World
    pairs : Pairs
    noise : ndarray of float64, shape (n_pairs,), or float
        Standard normal.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        Seconds, not rounded.
    """
    return pairs.duration * expit(reading(world, pairs, noise))


def press_log_odds(world: World, pairs: Pairs, dwell: _Floats) -> _Floats:
    """Log-odds of a like once the dwell is known, up to the world's intercept.

    Parameters
    ----------
    world : World
    pairs : Pairs
    dwell : ndarray of float64, shape (n_pairs,)
        Seconds.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        ``habit + beta_dwell · ln(1 + dwell) + beta_like · utility``.
    """
    return pairs.habit + world.beta_dwell * np.log1p(dwell) + world.beta_like * pairs.utility


def p_like_before(world: World, intercept: float, pairs: Pairs, nodes: int = _NODES) -> _Floats:
    """Probability of a like before the exposure.

    Parameters
    ----------
    world : World
    intercept : float
    pairs : Pairs
    nodes : int
        Points of the quadrature.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        ``∫ expit(intercept + press_log_odds(dwell(ε))) φ(ε) dε`` by Gauss-Hermite quadrature.

    Notes
    -----
    The press reads dwell as the log has it, to 0.1 s, and the integral reads it unrounded. The two differ
    by at most ``0.05 · beta_dwell`` of the probability where an item is left at once, and by less than
    1e-4 of the likes in all.
    """
    points, weights = hermegauss(nodes)
    total = np.zeros(len(pairs.utility))
    for point, weight in zip(points, weights / weights.sum(), strict=True):
        dwell = dwell_seconds(world, pairs, point)
        total += weight * expit(intercept + press_log_odds(world, pairs, dwell))
    return total


def p_long_view_before(world: World, pairs: Pairs) -> _Floats:
    """Probability, before the exposure, of watching at least half of the item.

    Parameters
    ----------
    world : World
    pairs : Pairs

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
    """
    return ndtr(reading(world, pairs, 0.0) / world.dwell_noise)


def find_like_intercept(world: World, log_odds: _Floats) -> float:
    """Find the intercept at which the mean like probability is `like_rate`.

    Parameters
    ----------
    world : World
    log_odds : ndarray of float64, shape (n_exposures,)
        Of the log's exposures, from `press_log_odds`.

    Returns
    -------
    float

    Notes
    -----
    Iterates ``a += logit(like_rate) - logit(mean expit(a + log_odds))``. The slope of the last term lies in
    (0, 1], since the mean of ``p(1 - p)`` is at most that of the mean p, so that no step overshoots.
    """
    intercept = 0.0
    for _ in range(_MOST_STEPS):
        step = float(logit(world.like_rate) - logit(expit(intercept + log_odds).mean()))
        intercept += step
        if abs(step) < _SMALLEST_STEP:
            break
    return intercept
