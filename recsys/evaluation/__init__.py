"""A model on the test window, beside its baselines.

.. code-block:: text

    _score      probabilities and rankings of one model  -> figures with intervals
    _evaluate   the procedure on the newest window it has not seen, and its baselines -> Evaluation
"""

from recsys.evaluation._evaluate import BASELINES, Evaluation, evaluate, evaluate_model, evaluate_procedure
from recsys.evaluation._score import Calibration

__all__ = ["BASELINES", "Calibration", "Evaluation", "evaluate", "evaluate_model", "evaluate_procedure"]
