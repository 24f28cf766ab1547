"""ALS from where an earlier fit ended, for as long as it pays."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.matrix import UserItems


class _SettledError(Exception):
    """The last iteration gained too little: implicit asks its callback nothing, but lets it raise."""


def fit_from(start: Factors, als: Any, confidences: UserItems, tolerance: float) -> None:
    """Fit implicit's model from given factors, until an iteration gains too little.

    Parameters
    ----------
    start : Factors
        Rows of zeros start as implicit would start them.
    als : implicit.cpu.als.AlternatingLeastSquares
        Changed in place; at most its own number of iterations.
    confidences : csr_matrix of float32
    tolerance : float
        Share of the loss that an iteration must take off for there to be another.

    """
    last = np.inf

    def stop_when_settled(*_: object) -> None:
        nonlocal last
        found = _loss(confidences, Factors(als.user_factors, als.item_factors), als.regularization)
        if found > last * (1 - tolerance):
            raise _SettledError
        last = found

    als.user_factors, als.item_factors = _complete(start, als)
    with suppress(_SettledError):
        als.fit(confidences, show_progress=False, callback=stop_when_settled)


def _complete(start: Factors, als: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the rows that are zeros, as implicit draws all of them."""
    from implicit.utils import check_random_state

    drawn = check_random_state(als.random_state)
    users, items = (
        np.where(
            rows.any(axis=1, keepdims=True),
            rows,
            drawn.random(rows.shape, dtype=np.float32) * np.float32(0.01),
        )
        for rows in (start.user_factors, start.item_factors)
    )
    return users, items


def _loss(confidences: UserItems, found: Factors, regularization: float) -> float:
    """Sum what ALS minimises over all pairs; the order of the sum does not depend on threads."""
    users = np.repeat(np.arange(confidences.shape[0], dtype=np.int32), np.diff(confidences.indptr))
    scores = found.scores(users, confidences.indices).astype(np.float64)
    observed = confidences.data * (1 - scores) ** 2 - scores**2
    grams = [(rows.T @ rows).astype(np.float64) for rows in (found.user_factors, found.item_factors)]
    # Of all pairs, x.y squared sums to the trace of (sum x x') (sum y y').
    return float(observed.sum() + np.sum(grams[0] * grams[1]) + regularization * sum(map(np.trace, grams)))
