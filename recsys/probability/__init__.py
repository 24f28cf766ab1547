"""Heads and calibrators: features -> will_like."""

from recsys.probability._beta import (
    FLOOR,
    BetaCalibrator,
    Interval,
    clustered_covariance,
    fit_beta_calibrator,
)
from recsys.probability._boosted import BoostedHead, fit_boosted
from recsys.probability._contributions import Contributions
from recsys.probability._head import (
    Head,
    Lessons,
    ProbabilityHead,
    choose_complexity,
    fit_probability_head,
    user_folds,
)
from recsys.probability._logistic import LogisticHead, fit_logistic

__all__ = [
    "FLOOR",
    "BetaCalibrator",
    "BoostedHead",
    "Contributions",
    "Head",
    "Interval",
    "Lessons",
    "LogisticHead",
    "ProbabilityHead",
    "choose_complexity",
    "clustered_covariance",
    "fit_beta_calibrator",
    "fit_boosted",
    "fit_logistic",
    "fit_probability_head",
    "user_folds",
]
