"""Settings -> losses, fold by fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.events import EventLog
from recsys.features import Snapshots
from recsys.inference import clustered_standard_error
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy, log_losses
from recsys.model import fit_model
from recsys.schema import LIKED, USER
from recsys.tuning._folds import Fold

#: Settings that no snapshot depends on.
_HEAD_ONLY = {"head", "l2", "folds", "cuts", "candidates"}


@dataclass
class Objective:
    """What settings are worth on the folds.

    Attributes
    ----------
    log : EventLog
    folds : tuple of Fold
    threads : int
        0 means one a core.

    """

    log: EventLog
    folds: tuple[Fold, ...]
    threads: int = 0
    _last: Snapshots | None = field(default=None, repr=False)

    def losses(self, model: ModelSettings) -> Iterator[NDArray[np.float64]]:
        """Fit and score one fold after the other: the log losses of its rows, in nats.

        Parameters
        ----------
        model : ModelSettings

        Yields
        ------
        ndarray of float64, shape (n rows of the fold,)

        """
        snapshots = self._snapshots(model)
        for fold in self.folds:
            fitted = fit_model(snapshots, fold.head, fold.cut)
            will_like = fitted.probabilities(fitted.snapshot.place(fold.rows))
            yield log_losses(fold.rows[LIKED].to_numpy(), will_like)

    def _snapshots(self, model: ModelSettings) -> Snapshots:
        # Of the last settings only: factorisations are what memory goes into.
        if self._last is None or _factor_settings(self._last.settings) != _factor_settings(model):
            self._last = Snapshots(self.log, model, self.threads)
        # What was taken is shared with the copy.
        self._last = replace(self._last, settings=model)
        return self._last

    def rows(self, folds: int | None = None) -> pl.DataFrame:
        """Give the scored rows of the first folds, in the order of their losses."""
        return pl.concat([fold.rows for fold in self.folds[:folds]])

    def entropy(self, losses: Sequence[NDArray[np.float64]]) -> float:
        """Pool the losses of the first folds: normalised entropy, lower is better."""
        liked = self.rows(len(losses))[LIKED].to_numpy()
        return float(np.concatenate(losses).mean() / binary_entropy(liked.mean()))

    def entropy_of_fold(self, place: int, losses: NDArray[np.float64]) -> float:
        """Compute the normalised entropy of one fold alone."""
        return float(losses.mean() / binary_entropy(self.folds[place].rows[LIKED].to_numpy().mean()))

    def entropy_error(self, losses: NDArray[np.float64]) -> float:
        """Compute the standard error of the pooled normalised entropy, clustered by user."""
        rows = self.rows()
        error = clustered_standard_error(losses, distinct_codes(rows[USER]))
        return float(error / binary_entropy(rows[LIKED].to_numpy().mean()))


def _factor_settings(model: ModelSettings) -> dict[str, Any]:
    return model.model_dump(exclude=_HEAD_ONLY)
