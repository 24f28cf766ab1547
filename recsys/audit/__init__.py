"""What an explicit like button adds to prediction, with honest uncertainty.

.. code-block:: text

    _rows       a log and its windows               -> what was known, learned from, scored
    _plan       settings                            -> everything that is fixed before scoring, hashed
    _dwell      presses and dwell                   -> log-odds that placebos hold fixed
    _chains     likes                               -> likes with the same margins (compiled)
    _placebo    the same, four kinds                -> placebo likes, how far they moved
    _looks      behaviour and likes of any kind     -> features, as the product's own model sees them
    _questions  an outcome, a head, a rung          -> a forecast of the scored rows
    _arms       likes of a kind from one start      -> what is done and what is left
    _trial      every arm, every question           -> forecasts
    _lift       forecasts                           -> what likes add, and of what it consists
    _ladder     forecasts                           -> what was known of a like before the press
    _planted    likes that know the future          -> whether the audit finds them
    _curves     more and fewer likes, less behaviour -> doses, exchange rate
    _segments   the lift by user and item           -> exploratory
    _residual, _residual_*    random exposures      -> what a press says beyond dwell
    _controls   all of these                        -> passed, failed, alarm
    _verdict    lifts and controls                  -> what may be said
    _result     what an audit found, part by part
    _document   all of it, as audit.json holds it
    _audit      the line through all of them
"""

import sys
from types import ModuleType
from typing import Any

from recsys.audit._audit import audit
from recsys.audit._document import Audit
from recsys.audit._result import (
    PIECES,
    PLACEBOS,
    PRIMARY_PLACEBO,
    Control,
    Dose,
    ExchangeRate,
    KnownBefore,
    Lift,
    Missing,
    PlaceboCheck,
    ResidualPress,
    Rung,
    Verdict,
)

__all__ = [
    "PIECES",
    "PLACEBOS",
    "PRIMARY_PLACEBO",
    "Audit",
    "Control",
    "Dose",
    "ExchangeRate",
    "KnownBefore",
    "Lift",
    "Missing",
    "PlaceboCheck",
    "ResidualPress",
    "Rung",
    "Verdict",
    "audit",
]


class _CallableRoom(ModuleType):
    """The folder is called as the function is: ``recsys.audit(log)`` means the function in either case."""

    def __call__(self, *given: Any, **named: Any) -> Audit:
        return audit(*given, **named)


sys.modules[__name__].__class__ = _CallableRoom
