"""ALS behind one protocol."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from recsys.config import ModelSettings
from recsys.engines._java import OLDEST_JAVA, check_java, find_java, why_no_java
from recsys.engines.local import LocalEngine
from recsys.factors import Factors
from recsys.matrix import UserItems

__all__ = ["OLDEST_JAVA", "Engine", "LocalEngine", "check_java", "engine_for", "find_java", "why_no_java"]


class Engine(Protocol):
    """What every engine can do."""

    def fit(
        self, user_items: UserItems, settings: ModelSettings, seed: int, start: Factors | None = None
    ) -> Factors:
        """Factorise one signal.

        Parameters
        ----------
        user_items : csr_matrix of float32, shape (n_users, n_items)
            Strengths r > 0; no entry means nothing observed.
        settings : ModelSettings
        seed : int
            Of the starting factors.
        start : Factors, optional
            Where to start instead, of the shape of the result; rows of zeros start as they would without it.
            Then an iteration that lowers the loss by less than the share `warm_tolerance` is the last.

        Returns
        -------
        Factors
            Rows of zeros for users and items without an entry.

        """
        ...


def engine_for(settings: ModelSettings, threads: int = 0) -> Engine:
    """Choose the engine that the settings name.

    Parameters
    ----------
    settings : ModelSettings
    threads : int
        0 means one a core.

    Returns
    -------
    Engine

    Raises
    ------
    ConfigError
        When what the engine needs is not installed.

    """
    # By its name, so that only whoever asks for Spark needs it.
    module = importlib.import_module(f"recsys.engines.{settings.engine}")
    return cast(Engine, getattr(module, f"{settings.engine.capitalize()}Engine")(threads))
