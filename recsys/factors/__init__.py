"""Factors: arrays, pair scores and exact top-n."""

from recsys.factors._factors import Factors
from recsys.factors._top_n import TopN

__all__ = ["Factors", "TopN"]
