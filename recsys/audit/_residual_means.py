"""Means of a column given features, predicted for users that the predictor did not see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.special import expit

from recsys.probability import fit_logistic

#: Trees that are tried on top of the straight predictor; the number is chosen on held-out users.
ROUNDS = tuple(range(0, 201, 20))
_TREES: dict[str, Any] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
_L2 = 10.0
_LEAST_SPREAD = 0.01
_Floats = NDArray[np.float64]
_Predictor = Callable[[_Floats], _Floats]
_Fit = Callable[[_Floats, _Floats], _Predictor]


def predict_held_out(
    features: _Floats,
    values: _Floats,
    folds: NDArray[np.int64],
    *,
    labels: bool,
    seed: int,
    threads: int = 0,
) -> _Floats:
    """Predict the values of each fold from a fit to the other folds.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    values : ndarray, shape (n,)
    folds : ndarray of int, shape (n,)
        The rows of a user share one.
    labels : bool
        The values are 0 and 1, both in every part that is fitted on: logistic instead of linear.
    seed : int
    threads : int, optional
        Of LightGBM; 0 means one a core. The result does not depend on it.

    Returns
    -------
    ndarray of float64, shape (n,)

    Notes
    -----
    A ridge regression, and boosted trees on what it leaves, as many as have the lowest squared error on all
    held-out rows (perhaps none).

    """
    fit: _Fit = _fit_labels if labels else _fit_line
    predicted = np.zeros((len(ROUNDS), len(values)))
    for fold in np.unique(folds):
        own = folds == fold
        straight = fit(features[~own], values[~own])
        left = values[~own] - straight(features[~own])
        trees = _bend(features[~own], left, features[own], seed, threads)
        predicted[:, own] = straight(features[own]) + trees
    return np.asarray(predicted[np.argmin(np.square(values - predicted).mean(axis=1))])


def _fit_labels(features: _Floats, labels: _Floats) -> _Predictor:
    names = [str(place) for place in range(features.shape[1])]
    head = fit_logistic(features, labels > 0, names, _L2)
    return lambda asked: np.asarray(expit(head.logit(asked)))


def _fit_line(features: _Floats, values: _Floats) -> _Predictor:
    mean, spread = features.mean(axis=0), np.maximum(features.std(axis=0), _LEAST_SPREAD)
    middle, design = values.mean(), (features - mean) / spread
    weights = solve(design.T @ design + _L2 * np.eye(len(mean)), design.T @ (values - middle), assume_a="pos")
    return lambda asked: np.asarray(middle + (asked - mean) / spread @ weights)


def _bend(features: _Floats, left: _Floats, asked: _Floats, seed: int, threads: int) -> _Floats:
    """Predict what a straight predictor leaves, shape (len(ROUNDS), n_asked)."""
    import lightgbm

    parameters = {**_TREES, "seed": seed, "num_threads": threads}
    data = lightgbm.Dataset(features, left, params=parameters)
    trees = lightgbm.train(parameters, data, num_boost_round=ROUNDS[-1])
    grown = [trees.predict(asked, num_iteration=rounds) for rounds in ROUNDS[1:]]
    return np.array([np.zeros(len(asked)), *grown])
