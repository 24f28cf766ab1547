"""ALS on this machine: implicit's class, with its own solver or ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.config import ModelSettings
from recsys.engines._warm import fit_from
from recsys.factors import Factors
from recsys.matrix import UserItems, confidences, one_blas_thread

#: Entries x iterations from which the compiled solver saves more than numba and its cached code take to load, with a
#: dozen factorisations a run; see tests/benchmarks/LOG.md. A count of the log and settings, so that no cache decides
#: what a model is.
COMPILED_FROM = 1_500_000


@dataclass(frozen=True)
class LocalEngine:
    """implicit's conjugate-gradient ALS (Takács, Pilászy and Tikk 2011).

    Attributes
    ----------
    threads : int
        0 means one a core. Factors do not depend on it.

    """

    threads: int = 0

    def fit(
        self, user_items: UserItems, settings: ModelSettings, seed: int, start: Factors | None = None
    ) -> Factors:
        """Minimise ``sum c (p - x.y)^2 + regularization (|x|^2 + |y|^2)``, c = 1 + alpha r, p = [r > 0].

        Parameters
        ----------
        user_items : csr_matrix of float32, shape (n_users, n_items)
        settings : ModelSettings
        seed : int
        start : Factors, optional

        Returns
        -------
        Factors

        References
        ----------
        Hu, Koren and Volinsky (2008), doi 10.1109/ICDM.2008.22.

        """
        # Before the limit: it holds only for the BLAS that is already loaded.
        solver = _solver_class(user_items, settings)
        with one_blas_thread():
            # implicit's own confidence is alpha * r without the 1, hence alpha = 1 here.
            als = solver(
                factors=settings.factors,
                regularization=settings.regularization,
                alpha=1.0,
                iterations=settings.iterations,
                num_threads=self.threads,
                random_state=seed,
            )
            weights = confidences(user_items, settings.alpha)
            if start is None:
                als.fit(weights, show_progress=False)
            else:
                fit_from(start, als, weights, settings.warm_tolerance)
        observed_users = np.diff(user_items.indptr) > 0
        observed_items = np.bincount(user_items.indices, minlength=user_items.shape[1]) > 0
        return Factors(
            np.where(observed_users[:, None], als.user_factors, np.float32(0)),
            np.where(observed_items[:, None], als.item_factors, np.float32(0)),
        )


def _solver_class(user_items: UserItems, settings: ModelSettings) -> Any:
    work = int(user_items.nnz) * settings.iterations
    if settings.solver == "compiled" or (settings.solver == "auto" and work >= COMPILED_FROM):
        from recsys.engines._compiled import CompiledAlternatingLeastSquares

        return CompiledAlternatingLeastSquares
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares
