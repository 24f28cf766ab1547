"""The true probabilities of what may follow an exposure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit, logit, ndtr

from recsys.simulation._fandoms import is_fan
from recsys.simulation._parts import map_parts
from recsys.simulation._population import GROUPS, affinity
from recsys.simulation._world import World

HALF_WATCHED = 2.0  # the utility at which half of an item is watched
FAN_BOND = 2.0  # utility of their creator's items to fans
#: Log-odds at utility 0, and per unit of utility, of what follows an exposure apart from the press.
AFTER = {"follow": (-6.0, 0.8), "share": (-5.0, 0.6), "hide": (-4.5, -0.6)}
_STEP, _REACH = 0.9, 6.5  # standard deviations
_OVERFLOW = 700.0
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Encounter:
    """Who meets what, and how it is displayed.

    Attributes
    ----------
    user, item : ndarray of int, shape (n_rows,)
        Rows of who holds the device, and of what is shown.
    position : ndarray of int, shape (n_rows,)
        In the session, from 1.
    likes_shown : ndarray of int, shape (n_rows,)
    usual : ndarray of float64, shape (n_rows,)
        Of ``ln(1 + likes_shown)``, from `usual_likes`.
    is_nudged : ndarray of bool, shape (n_rows,)
    mood : ndarray of float64, shape (n_rows,)
        Utility that the session's mood adds.
    ordered : ndarray of float64, shape (n_rows,)
        Probability of a press by order; NaN where a person presses.
    """

    user: npt.NDArray[Any]
    item: npt.NDArray[Any]
    position: npt.NDArray[Any]
    likes_shown: npt.NDArray[Any]
    usual: _Floats
    is_nudged: npt.NDArray[Any]
    mood: _Floats
    ordered: _Floats

    def take(self, which: npt.NDArray[Any]) -> Encounter:
        """Pick rows by number or by mask.

        Parameters
        ----------
        which : ndarray of int or bool

        Returns
        -------
        Encounter
        """
        return Encounter(**{name: values[which] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Exposed:
    """What decides the outcomes of exposures.

    Attributes
    ----------
    utility : ndarray of float64, shape (n_rows,)
    duration : ndarray of float64, shape (n_rows,)
        Seconds.
    noise_sd : ndarray of float64, shape (n_rows,)
        Standard deviation of the noise with which dwell reads utility.
    log_odds : ndarray of float64, shape (n_rows,)
        Of an intended press, apart from the intercept and from what dwell says.
    ordered : ndarray of float64, shape (n_rows,)
        Probability of a press by order; NaN where a person presses.
    """

    utility: _Floats
    duration: _Floats
    noise_sd: _Floats
    log_odds: _Floats
    ordered: _Floats


def gather(
    world: World,
    users: pl.DataFrame,
    items: pl.DataFrame,
    taste: npt.NDArray[np.float32],
    met: Encounter,
) -> Exposed:
    """Gather what decides the outcomes of encounters.

    Parameters
    ----------
    world : World
    users, items : polars.DataFrame
        As drawn by `draw_population`.
    taste : ndarray of float32, shape (n_users, n_dims)
        From `taste_at`.
    met : Encounter

    Returns
    -------
    Exposed
        By the formulas of `World`.
    """
    fit = affinity(taste, items["direction"].to_numpy(), met.user, met.item)
    bond = FAN_BOND * is_fan(users, items, met.user, met.item)
    utility = fit + items["quality"].to_numpy()[met.item] + bond + met.mood
    in_b = (users["group_cohort"] == GROUPS[1]).to_numpy()[met.user]
    return Exposed(
        utility=utility,
        duration=items["duration_seconds"].to_numpy()[met.item].astype(np.float64),
        noise_sd=world.dwell_noise * np.where(in_b, world.group_noise, 1.0),
        log_odds=users["habit"].to_numpy()[met.user].astype(np.float64)
        + world.beta_like * utility
        + world.herding * (np.log1p(met.likes_shown) - met.usual)
        - world.position_bias * np.log(met.position)
        + world.nudge * met.is_nudged,
        ordered=met.ordered,
    )


def reading(exposed: Exposed, draw: _Floats | float) -> _Floats:
    """Read utility through noise: at zero, half of the item is watched.

    Parameters
    ----------
    exposed : Exposed
    draw : ndarray of float64, shape (n_rows,), or float
        Standard normal.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    return exposed.utility - HALF_WATCHED + exposed.noise_sd * draw


def dwell_seconds(exposed: Exposed, draw: _Floats | float) -> npt.NDArray[np.float32]:
    """Time watched, ``duration · expit(reading)``, as the log keeps it.

    Parameters
    ----------
    exposed : Exposed
    draw : ndarray of float64, shape (n_rows,), or float
        Standard normal.

    Returns
    -------
    ndarray of float32, shape (n_rows,)
        Seconds, to 1 ms.
    """
    watched: _Floats = exposed.duration * expit(reading(exposed, draw))
    return watched.round(3).astype(np.float32)


def press_log_odds(world: World, exposed: Exposed, dwell: npt.NDArray[np.float32]) -> _Floats:
    """Log-odds of an intended press once the dwell is known, apart from the intercept.

    Parameters
    ----------
    world : World
    exposed : Exposed
    dwell : ndarray of float32, shape (n_rows,)
        Seconds.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    return exposed.log_odds + world.beta_dwell * np.log1p(dwell.astype(np.float64))


def p_like_given_dwell(
    world: World, intercept: float, exposed: Exposed, dwell: npt.NDArray[np.float32]
) -> _Floats:
    """Probability of a press once the dwell is known: intended, by accident, or by order.

    Parameters
    ----------
    world : World
    intercept : float
    exposed : Exposed
    dwell : ndarray of float32, shape (n_rows,)
        Seconds.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    return _with_accident_and_order(
        world, expit(intercept + press_log_odds(world, exposed, dwell)), exposed.ordered
    )


def p_like_before(world: World, intercept: float, exposed: Exposed) -> _Floats:
    """Probability of a press before the exposure.

    Parameters
    ----------
    world : World
    intercept : float
    exposed : Exposed

    Returns
    -------
    ndarray of float64, shape (n_rows,)
        ``∫ P(press | dwell(ε)) φ(ε) dε`` by the trapezoidal rule, to a relative error of 1e-5.

    Notes
    -----
    With odds of the press written as a product, a point costs one logarithm and two exponentials::

        P = 1 / (1 + exp(-log_odds) (1 + dwell)^-beta_dwell),  dwell = duration / (1 + exp(-reading))

    The rule converges geometrically: its error is about ``exp(-2π d / step)``, where d is the distance of
    the integrand's poles from the real axis, ``π / (noise · max(1, beta_dwell))``, and ``exp(-2π² / step²)``
    for the normal density. Gauss-Hermite needs twice the points at noise 1, and fails above 5.

    The press reads dwell to 1 ms and the integral reads it unrounded: a relative difference of at most
    ``0.0005 · beta_dwell``.

    References
    ----------
    Trefethen, Weideman (2014). The exponentially convergent trapezoidal rule. SIAM Review 56(3).
    https://doi.org/10.1137/130932132
    """
    # Of the world, not of the rows: the answer for a row must not depend on the others.
    noisiest = world.dwell_noise * (max(1.0, world.group_noise) if world.group_share else 1.0)
    step = _STEP / max(1.0, noisiest * max(1.0, world.beta_dwell))
    points = step * np.arange(-round(_REACH / step), round(_REACH / step) + 1)
    weights = np.exp(-(points**2) / 2)
    weights /= weights.sum()

    def integrate(part: slice) -> _Floats:
        against = np.exp(np.minimum(-intercept - exposed.log_odds[part], _OVERFLOW))
        unread, noise_sd = HALF_WATCHED - exposed.utility[part], exposed.noise_sd[part]
        duration, total = exposed.duration[part], np.zeros(len(unread))
        for point, weight in zip(points, weights, strict=True):
            dwell = duration / (1.0 + np.exp(np.minimum(unread - point * noise_sd, _OVERFLOW)))
            total += weight / (1.0 + against * np.exp(-world.beta_dwell * np.log(1.0 + dwell)))
        return total

    intended = np.concatenate(map_parts(len(exposed.utility), integrate))
    return _with_accident_and_order(world, intended, exposed.ordered)


def p_long_view_before(exposed: Exposed) -> _Floats:
    """Probability, before the exposure, of watching at least half of the item.

    Parameters
    ----------
    exposed : Exposed

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    half_a_millisecond_less = logit(0.5 - 0.0005 / exposed.duration)  # the log rounds it up
    return ndtr((reading(exposed, 0.0) - half_a_millisecond_less) / exposed.noise_sd)


def p_after(exposed: Exposed, what: str) -> _Floats:
    """Probability of a follow, share or hide: they read utility, never dwell or the press.

    Parameters
    ----------
    exposed : Exposed
    what : str
        A key of `AFTER`.

    Returns
    -------
    ndarray of float64, shape (n_rows,)
    """
    level, slope = AFTER[what]
    return expit(level + slope * exposed.utility)


def _with_accident_and_order(world: World, intended: _Floats, ordered: _Floats) -> _Floats:
    accident = world.accident_rate
    return np.where(np.isnan(ordered), accident + (1.0 - accident) * intended, ordered)
