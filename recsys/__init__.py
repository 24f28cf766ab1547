"""recsys: predicts likes before they happen, and measures what the like button still adds.

Public names, in the order in which data flows. Each is imported when it is first used, so that
``import recsys`` and ``recsys --help`` stay instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.audit import Audit, audit
    from recsys.config import Settings, load_settings
    from recsys.errors import RecsysError
    from recsys.evaluation import Evaluation, evaluate
    from recsys.events import EventLog, read_events
    from recsys.model import WillLikeModel
    from recsys.pipeline import load_model
    from recsys.simulation import Truth, World, read_truth, simulate, write_simulation
    from recsys.store import read_predictions

_HOMES = {
    "RecsysError": "recsys.errors",
    "Settings": "recsys.config",
    "load_settings": "recsys.config",
    "World": "recsys.simulation",
    "simulate": "recsys.simulation",
    "write_simulation": "recsys.simulation",
    "Truth": "recsys.simulation",
    "read_truth": "recsys.simulation",
    "EventLog": "recsys.events",
    "read_events": "recsys.events",
    "WillLikeModel": "recsys.model",
    "Evaluation": "recsys.evaluation",
    "evaluate": "recsys.evaluation",
    "Audit": "recsys.audit",
    "audit": "recsys.audit",
    "read_predictions": "recsys.store",
    "load_model": "recsys.pipeline",
}

__all__ = [  # noqa: RUF022 (the order of the pipeline)
    "RecsysError",
    "Settings",
    "load_settings",
    "World",
    "simulate",
    "write_simulation",
    "Truth",
    "read_truth",
    "EventLog",
    "read_events",
    "WillLikeModel",
    "Evaluation",
    "evaluate",
    "Audit",
    "audit",
    "read_predictions",
    "load_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'recsys' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
