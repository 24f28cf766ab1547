"""ALS behind one protocol."""

from __future__ import annotations

from typing import Protocol

from recsys.config import ModelSettings
from recsys.engines.local import LocalEngine
from recsys.factors import Factors
from recsys.matrix import UserItems

__all__ = ["Engine", "LocalEngine", "engine_for"]


class Engine(Protocol):
    """What every engine can do."""

    def fit(self, user_items: UserItems, settings: ModelSettings, seed: int) -> Factors:
        """Factorise one signal.

        Parameters
        ----------
        user_items : csr_matrix of float32, shape (n_users, n_items)
            Strengths r > 0; no entry means nothing observed.
        settings : ModelSettings
        seed : int
            Of the starting factors.

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

    """
    engines = {"local": LocalEngine}
    return engines[settings.engine](threads)
