"""WillLikeModel: fit, predict_proba, recommend.

.. code-block:: text

    _candidates which items are worth scoring for whom
    _rank       ranking by score, for a log without probabilities
    _model      a snapshot and a head: predict_proba, recommend
    _fit        the procedure: a head from a window, then a refresh
    _artefact   a model <-> files, without pickle
"""

from recsys.model._fit import fit_model, reads
from recsys.model._model import CANDIDATES, WillLikeModel, pairs_of

__all__ = ["CANDIDATES", "WillLikeModel", "fit_model", "pairs_of", "reads"]
