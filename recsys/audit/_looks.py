"""What a head may know of the learned and of the scored exposures, under likes of any kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.audit._rows import AuditRows
from recsys.config import ModelSettings
from recsys.engines import Engine
from recsys.features import Behaviour, Pairs, observe_behaviour


@dataclass(frozen=True)
class Look:
    """Features of one arm.

    Attributes
    ----------
    names : tuple of str
        d features, those of `Snapshot.names`.
    learn, score : ndarray of float64, shape (n_learn, d) and (n_score, d)

    """

    names: tuple[str, ...]
    learn: NDArray[np.float64]
    score: NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """Behaviour at both cuts, factorised from one start: all arms of a seed share it.

    Attributes
    ----------
    rows : AuditRows
    early, late : Behaviour
        Before the calibrate and before the test window.
    learn, score : Pairs
        What is looked at from either: the learned exposures; the scored ones, and more where a benchmark asks.

    """

    rows: AuditRows
    early: Behaviour
    late: Behaviour
    learn: Pairs
    score: Pairs

    def look(self, liked: NDArray[np.bool_], engine: Engine) -> Look:
        """See the exposures as a head does under these likes.

        Parameters
        ----------
        liked : ndarray of bool, shape (n,)
            Of `rows.known`.
        engine : Engine

        Returns
        -------
        Look

        """
        early = self.early.add_likes(self.rows.liked_early(liked), engine)
        late = self.late.add_likes(liked, engine)
        return Look(early.names, early.pair_features(self.learn), late.pair_features(self.score))

    def start_again(self, seed: int, engine: Engine) -> Material:
        """Factorise from other starting factors."""
        early, late = (one.start_again(seed, engine) for one in (self.early, self.late))
        return replace(self, early=early, late=late)

    def thin(self, kept: NDArray[np.bool_], engine: Engine) -> Material:
        """Forget the behaviour on the other rows; likes will still be those of all.

        Parameters
        ----------
        kept : ndarray of bool, shape (n,)
        engine : Engine

        Returns
        -------
        Material

        """
        early = self.early.thin(kept[self.rows.early], engine)
        return replace(self, early=early, late=self.late.thin(kept, engine))


def gather_material(
    rows: AuditRows,
    score: pl.DataFrame,
    signals: tuple[str, ...],
    settings: ModelSettings,
    engine: Engine,
) -> Material:
    """Observe behaviour before both cuts.

    Parameters
    ----------
    rows : AuditRows
    score : polars.DataFrame
        Pairs to look at.
    signals : tuple of str
    settings : ModelSettings
    engine : Engine

    Returns
    -------
    Material

    """
    cuts = (rows.windows.calibrate.cut, rows.windows.test.cut)
    known = (rows.known[rows.early], rows.known)
    early, late = (
        observe_behaviour(one, cut, signals, settings, engine) for one, cut in zip(known, cuts, strict=True)
    )
    learn, scored = (one.place(table) for one, table in ((early, rows.learn), (late, score)))
    return Material(rows, early, late, learn, scored)
