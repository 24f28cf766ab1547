"""A model on the test window, beside its baselines.

.. code-block:: text

    _score      probabilities and rankings of one model  -> figures with intervals
    _candidates one model, more and fewer candidates -> how many the ranking needs
    _cuts       rows -> codes of segments
    _segments   the window cut by user, item, creator, group, forecast and day -> where the forecast is off
    _evaluation what an evaluation found
    _evaluate   the procedure on the newest window it has not seen, and its baselines -> Evaluation
"""

from recsys.evaluation._candidates import Tried
from recsys.evaluation._cuts import Cut, cut_rows
from recsys.evaluation._evaluate import BASELINES, evaluate, evaluate_model, evaluate_procedure
from recsys.evaluation._evaluation import Evaluation
from recsys.evaluation._score import Calibration
from recsys.evaluation._segments import Scored, count_forecasts, score_days, score_segments

__all__ = [
    "BASELINES",
    "Calibration",
    "Cut",
    "Evaluation",
    "Scored",
    "Tried",
    "count_forecasts",
    "cut_rows",
    "evaluate",
    "evaluate_model",
    "evaluate_procedure",
    "score_days",
    "score_segments",
]
