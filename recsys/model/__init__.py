"""WillLikeModel: fit, predict_proba, recommend, explain.

.. code-block:: text

    _rank       ranking by score, for a log without probabilities
    _score      pairs -> what ranks them, and the columns that are published
    _candidates which items are worth scoring for whom
    _select     the best of them
    _recommend  users and a catalogue -> each user's likeliest items
    _explain    why a probability: a sum in log-odds, and the past items behind the ALS scores
    _tables     ids and pairs as they are given
    _lessons    the exposures of a window, as the cuts before them saw them
    _model      a snapshot and a head: fit, predict_proba, recommend, explain
    _artefact   a model <-> files, without pickle
"""

from recsys.model._explain import Explanation, PastItems
from recsys.model._model import WillLikeModel, fit_model
from recsys.model._select import Wanted
from recsys.model._tables import pairs_of

__all__ = ["Explanation", "PastItems", "Wanted", "WillLikeModel", "fit_model", "pairs_of"]
