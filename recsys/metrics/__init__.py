"""How good a probability is, and how good a ranking is.

Log loss, normalised entropy and Brier skill; AUC over all rows and within users; the CORP decomposition
with its null band; ranking on held-out likes. Point values only: their intervals are in
`recsys.inference`. Logs are natural. Every figure of a column of rows is invariant to their order.
"""

from recsys.metrics._auc import UserAucs, auc, gauc, uauc, user_aucs
from recsys.metrics._corp import (
    CorpDecomposition,
    NullBand,
    corp_decomposition,
    miscalibration,
    miscalibration_null_band,
)
from recsys.metrics._drift import population_stability
from recsys.metrics._ranking import (
    average_precision_at,
    catalogue_coverage,
    exposure_gini,
    ndcg_at,
    recall_at,
)
from recsys.metrics._reliability import reliability_curve, reliability_null_band
from recsys.metrics._scores import binary_entropy, brier_skill, log_loss, log_losses, normalized_entropy

__all__ = [
    "CorpDecomposition",
    "NullBand",
    "UserAucs",
    "auc",
    "average_precision_at",
    "binary_entropy",
    "brier_skill",
    "catalogue_coverage",
    "corp_decomposition",
    "exposure_gini",
    "gauc",
    "log_loss",
    "log_losses",
    "miscalibration",
    "miscalibration_null_band",
    "ndcg_at",
    "normalized_entropy",
    "population_stability",
    "recall_at",
    "reliability_curve",
    "reliability_null_band",
    "uauc",
    "user_aucs",
]
