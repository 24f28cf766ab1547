"""Heads and calibrators: features -> will_like."""

from recsys.probability._beta import (
    FLOOR,
    BetaCalibrator,
    Interval,
    clustered_covariance,
    fit_beta_calibrator,
)
from recsys.probability._head import ProbabilityHead, fit_probability_head
from recsys.probability._logistic import LogisticHead, fit_logistic

__all__ = [
    "FLOOR",
    "BetaCalibrator",
    "Interval",
    "LogisticHead",
    "ProbabilityHead",
    "clustered_covariance",
    "fit_beta_calibrator",
    "fit_logistic",
    "fit_probability_head",
]
