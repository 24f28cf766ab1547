"""Settings of the model, chosen by Optuna on the calibration window.

.. code-block:: text

    _space      what is searched, one dimension a setting
    _folds      a log without its test window -> pieces of the calibrate window, and what comes before each
    _objective  settings -> losses, fold by fold
    _journal    finished trials on disk
    _study      which settings are tried, and which are stopped early
    _tune       a log -> Tuning
"""

from recsys.tuning._folds import Fold, rolling_folds
from recsys.tuning._objective import Objective
from recsys.tuning._space import Choice, Dimension, Range, default_space
from recsys.tuning._tune import Tuning, tune

__all__ = [
    "Choice",
    "Dimension",
    "Fold",
    "Objective",
    "Range",
    "Tuning",
    "default_space",
    "rolling_folds",
    "tune",
]
