"""WillLikeModel: fit, predict_proba, recommend.

.. code-block:: text

    _candidates which items are worth scoring for whom
    _select     the best of them
    _rank       ranking by score, for a log without probabilities
    _lessons    the exposures of a window, as the cuts before them saw them
    _model      a snapshot and a head: fit, predict_proba, recommend
    _artefact   a model <-> files, without pickle
"""

from recsys.model._lessons import reads
from recsys.model._model import WillLikeModel, fit_model, pairs_of

__all__ = ["WillLikeModel", "fit_model", "pairs_of", "reads"]
