"""How much of a like was known before the press, rung by rung."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.audit._lift import fall_in_shares
from recsys.audit._result import KnownBefore, Rung
from recsys.audit._rows import AuditRows
from recsys.audit._trial import LADDER
from recsys.inference import Estimate, mean_interval
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy, log_losses
from recsys.schema import ITEM, LIKED, USER

RUNGS = {
    "R0": "the like rate of the calibrate window",
    "R1": "behaviour only, learnt from other users' likes",
    "R2": "and how often this user presses (habit)",
    "R3": "and how often this item is liked (crowd)",
    "R4": "and who liked what (taste)",
    "R4°": "the same with placebo likes",
    "R5": "and how the item was watched: an upper bound, since viewing goes on after the press",
}
_BELOW = {"R1": "R0", "R2": "R1", "R3": "R2", "R4": "R3", "R4°": "R4", "R5": "R4"}


def climb_ladder(rows: AuditRows, forecasts: Mapping[str, NDArray[np.float64]]) -> KnownBefore:
    """Score every rung on the same rows.

    Parameters
    ----------
    rows : AuditRows
    forecasts : mapping of str to ndarray of float64, shape (k, n_score)
        By ``ladder/rung``.

    Returns
    -------
    KnownBefore

    Notes
    -----
    ``1 - NE``, ``NE = L / H(pi)``: L the mean loss, averaged over seeds, pi the scored rows' like rate. Intervals are
    95 %, two-way by user and item, given the fitted models; that of an explained share is of
    ``psi_i = -l_i / H + L (y_i - pi) ln((1 - pi) / pi) / H^2``, since the rate varies along with the loss.

    """
    liked = rows.score[LIKED].to_numpy()
    base = np.full((1, len(liked)), rows.learn[LIKED].mean())
    drawn = {"R0": base} | {name: forecasts[f"{LADDER}/{name}"] for name in _BELOW}
    losses = {
        name: np.mean([log_losses(liked, one) for one in found], axis=0) for name, found in drawn.items()
    }
    entropy = float(binary_entropy(liked.mean()))
    users, items = (distinct_codes(rows.score[name]) for name in (USER, ITEM))

    increments = {
        name: fall_in_shares(losses[below], losses[name], users, items, entropy)
        for name, below in _BELOW.items()
    }
    ladder = tuple(
        Rung(name, inputs, _explain(liked, losses[name], users, items), increments.get(name))
        for name, inputs in RUNGS.items()
    )
    left = {name: float(-np.mean(np.log2(found[:, liked]))) for name, found in drawn.items()}
    return KnownBefore(ladder, float(-np.log2(liked.mean())), left)


def _explain(
    liked: NDArray[np.bool_],
    loss: NDArray[np.float64],
    users: NDArray[np.int32],
    items: NDArray[np.int32],
) -> Estimate:
    rate, mean = liked.mean(), loss.mean()
    entropy = float(binary_entropy(rate))
    slope = np.log((1 - rate) / rate) * mean / entropy**2
    around = mean_interval(1 - loss / entropy + slope * (liked - rate), users, items)
    return Estimate(float(1 - mean / entropy), around.low, around.high)
