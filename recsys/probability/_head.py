"""A head and the calibrator fitted on users that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.errors import DataError
from recsys.matrix import one_blas_thread
from recsys.probability._beta import BetaCalibrator, clustered_covariance, fit_beta_calibrator
from recsys.probability._logistic import LogisticHead, fit_logistic


@dataclass(frozen=True)
class ProbabilityHead:
    """A head and its calibrator.

    Attributes
    ----------
    head : LogisticHead
    calibrator : BetaCalibrator
    base_rate : float
        Like rate of the exposures they were fitted on.

    """

    head: LogisticHead
    calibrator: BetaCalibrator
    base_rate: float

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute will_like.

        Parameters
        ----------
        features : ndarray, shape (n, d)
            Columns `head.names`.

        Returns
        -------
        ndarray of float64, shape (n,)
            In [1e-7, 1 - 1e-7].

        """
        return self.calibrator.apply(self.head.logit(features))


def fit_probability_head(
    features: NDArray[np.float64],
    liked: NDArray[np.bool_],
    users: NDArray[np.int32],
    names: Sequence[str],
    settings: ModelSettings,
) -> ProbabilityHead:
    """Fit the head on logged exposures with their true zeros, its calibrator on users it did not see.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    liked : ndarray of bool, shape (n,)
    users : ndarray of int, shape (n,)
        Any code a user.
    names : sequence of d str
    settings : ModelSettings
        `folds`, `l2` and `seed`.

    Returns
    -------
    ProbabilityHead

    Raises
    ------
    DataError
        When only one label is there.

    Notes
    -----
    Each of `folds` heads is fitted on the other folds' users and predicts its own; the calibrator is
    fitted on those predictions; the head that serves is then fitted on all rows.

    """
    if liked.all() or not liked.any():
        raise DataError("a head needs liked and unliked exposures")
    with one_blas_thread():
        folds = _user_folds(users, settings.folds, settings.seed)
        held_out = np.zeros(len(liked))
        for fold in np.unique(folds):
            own = folds == fold
            if liked[~own].all() or not liked[~own].any():
                raise DataError(f"the likes of too few users to hold out a fold of {settings.folds}")
            held_out[own] = fit_logistic(features[~own], liked[~own], names, settings.l2).logit(features[own])
        calibrator = fit_beta_calibrator(held_out, liked)
        return ProbabilityHead(
            fit_logistic(features, liked, names, settings.l2),
            replace(calibrator, covariance=clustered_covariance(calibrator, held_out, liked, users)),
            float(liked.mean()),
        )


def _user_folds(users: NDArray[np.int32], folds: int, seed: int) -> NDArray[np.int64]:
    codes, inverse = np.unique(users, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    return shuffled[inverse] % folds
