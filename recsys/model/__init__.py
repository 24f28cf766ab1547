"""WillLikeModel: fit, predict_proba, recommend.

.. code-block:: text

    _model      a snapshot and a head: fit, predict_proba, recommend
    _rank       exact top-n by will_like
    _artefact   a model <-> files, without pickle
"""

from recsys.model._fit import fit_model, reads
from recsys.model._model import CANDIDATES, WillLikeModel, pairs_of

__all__ = ["CANDIDATES", "WillLikeModel", "fit_model", "pairs_of", "reads"]
