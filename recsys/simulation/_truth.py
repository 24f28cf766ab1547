"""The true probabilities of what may follow an exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
_ROWS_FOR_INTERCEPT = 50_000
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


def p_like_given_dwell(world: World, intercept: float, pairs: Pairs, dwell: _Floats) -> _Floats:
    """Probability of a like once the dwell is known.

    Parameters
    ----------
    world : World
    intercept : float
        See `find_like_intercept`.
    pairs : Pairs
    dwell : ndarray of float64, shape (n_pairs,)
        Seconds.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        ``expit(intercept + habit + beta_dwell · ln(1 + dwell) + beta_like · utility)``.
    """
    direct = pairs.habit + world.beta_like * pairs.utility
    return expit(intercept + direct + world.beta_dwell * np.log1p(dwell))


def p_like_before(world: World, intercept: float, pairs: Pairs, nodes: int = _NODES) -> _Floats:
    """Probability of a like before the exposure.

    Parameters
    ----------
    world : World
    intercept : float
    pairs : Pairs
    nodes : int
        Of the quadrature.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
        ``∫ P(like | dwell(ε)) φ(ε) dε`` by Gauss-Hermite quadrature. The log rounds dwell to 0.1 s and
        the press reads it so; the integral does not, a difference far below 1e-4 of the probability.
    """
    points, weights = hermegauss(nodes)
    total = np.zeros(len(pairs.utility))
    for point, weight in zip(points, weights / weights.sum(), strict=True):
        total += weight * p_like_given_dwell(world, intercept, pairs, dwell_seconds(world, pairs, point))
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


def find_like_intercept(world: World, pairs: Pairs) -> float:
    """Find the intercept at which the mean like probability is `like_rate`.

    Parameters
    ----------
    world : World
    pairs : Pairs
        The log's exposures. Large logs are thinned evenly.

    Returns
    -------
    float

    Notes
    -----
    Iterates ``a += logit(like_rate) - logit(mean p(a))``. The slope of ``logit(mean p)`` lies in (0, 1],
    because a mixture's variance is at least the mean of its parts', so that no step overshoots.
    """
    step = -(-len(pairs.utility) // _ROWS_FOR_INTERCEPT)
    some = replace(
        pairs, utility=pairs.utility[::step], habit=pairs.habit[::step], duration=pairs.duration[::step]
    )
    intercept = 0.0
    for _ in range(200):
        change = float(logit(world.like_rate) - logit(p_like_before(world, intercept, some).mean()))
        intercept += change
        if abs(change) < 1e-9:
            break
    return intercept
