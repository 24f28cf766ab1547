"""Factors: arrays, pair scores and exact top-n.

.. code-block:: text

    _factors    two arrays, and what is asked of them
    _scores     the score of a pair to the bit, and how far a matrix product may be from it
    _top_n      blocks of users in threads         -> every user's n best items
    _plain      whole rows, in NumPy: small problems
    _pruned     blocks of items, the longest first: large ones
    _desk       what the compiled loops work on
    _loops      the compiled loops
"""

from recsys.factors._factors import Factors, mean_outer_product, typical_score_of
from recsys.factors._top_n import Ranker, TopN

__all__ = ["Factors", "Ranker", "TopN", "mean_outer_product", "typical_score_of"]
