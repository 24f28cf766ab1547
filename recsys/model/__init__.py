"""WillLikeModel: fit, predict_proba, recommend.

.. code-block:: text

    _model      a snapshot and a head: fit, predict_proba, recommend
    _rank       exact top-n by will_like
    _artefact   a model <-> files, without pickle
"""

from recsys.model._model import WillLikeModel, fit_model, pairs_of

__all__ = ["WillLikeModel", "fit_model", "pairs_of"]
