"""How sure a figure is: clustered standard errors, user-weighted bootstraps, segments.

Rows of one user are not independent, so that users, never rows, are what is resampled or summed over.
All intervals are two-sided 95 %. Same input and same seed: the same bits, whatever the number of threads.
"""

from recsys.inference._bootstrap import (
    bootstrap_auc,
    bootstrap_interval,
    bootstrap_sums,
    percentile_interval,
    ratio_of_sums,
    user_sums,
)
from recsys.inference._clustered import (
    clustered_standard_error,
    mean_interval,
    paired_difference,
    two_way_standard_error,
)
from recsys.inference._covariance import Covariance, generalised_covariance
from recsys.inference._estimate import Estimate
from recsys.inference._probability import paired_metrics, probability_metrics
from recsys.inference._seeded import SeededDifference, adjust_holm, between_seeds, seeded_difference
from recsys.inference._segments import mark_discoveries, segment_biases, shrink_estimates

__all__ = [
    "Covariance",
    "Estimate",
    "SeededDifference",
    "adjust_holm",
    "between_seeds",
    "bootstrap_auc",
    "bootstrap_interval",
    "bootstrap_sums",
    "clustered_standard_error",
    "generalised_covariance",
    "mark_discoveries",
    "mean_interval",
    "paired_difference",
    "paired_metrics",
    "percentile_interval",
    "probability_metrics",
    "ratio_of_sums",
    "seeded_difference",
    "segment_biases",
    "shrink_estimates",
    "two_way_standard_error",
    "user_sums",
]
