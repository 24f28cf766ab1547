"""One contract for every engine, with a dense solver as oracle."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import rankdata

from recsys.config import ModelSettings
from recsys.engines import Engine
from recsys.factors import Factors
from recsys.matrix import UserItems

Floats = NDArray[np.float64]
SETTINGS = ModelSettings(factors=4, iterations=15, alpha=10.0, regularization=0.5)


class Loss:
    """Sum over every pair, as in Hu, Koren and Volinsky (2008); `counted` penalises a row once an entry."""

    def __init__(self, matrix: UserItems, ridge: float, *, counted: bool = False) -> None:
        self.strengths = matrix.toarray().astype(float)
        liked = self.strengths > 0
        counts = (liked.sum(axis=axis) if counted else np.ones(liked.shape[1 - axis]) for axis in (1, 0))
        self.ridges = [ridge * count for count in counts]

    def of(self, users: NDArray[np.floating], items: NDArray[np.floating]) -> float:
        r = self.strengths
        misfit = ((1 + SETTINGS.alpha * r) * ((r > 0) - users.astype(float) @ items.T) ** 2).sum()
        sizes = ((rows.astype(float) ** 2).sum(axis=1) for rows in (users, items))
        return float(misfit + sum(ridge @ size for ridge, size in zip(self.ridges, sizes, strict=True)))

    def nothing(self) -> float:
        users, items = self.strengths.shape
        return self.of(np.zeros((users, 1)), np.zeros((items, 1)))

    def solved_exactly(self, seed: int, sweeps: int = 15) -> float:
        """Alternate exact solves in float64, densely, from another start."""
        r = self.strengths
        items = np.random.default_rng(seed).normal(size=(r.shape[1], SETTINGS.factors)) * 0.1
        for _ in range(sweeps):
            users = solve(r, items, self.ridges[0])
            items = solve(r.T, users, self.ridges[1])
        return self.of(users, items)


def solve(strengths: Floats, fixed: Floats, ridges: Floats) -> Floats:
    rows = []
    for row, ridge in zip(strengths, ridges, strict=True):
        c = 1 + SETTINGS.alpha * row
        # Whoever was not observed has no count either: any penalty makes the row zeros.
        penalty = (ridge or 1.0) * np.eye(SETTINGS.factors)
        rows.append(np.linalg.solve((fixed.T * c) @ fixed + penalty, (fixed.T * c) @ (row > 0)))
    return np.array(rows)


def draw_planted(seed: int, users: int, items: int, rank: int = 3) -> tuple[UserItems, NDArray[np.bool_]]:
    """Draw strengths of half of the pairs a low-rank taste likes; the other half is held out."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(users, rank)) @ rng.normal(size=(rank, items)) + rng.normal(size=items) / 2
    liked = taste > np.quantile(taste, 0.85)
    held_out = liked & (rng.random(liked.shape) < 0.5)
    strength = np.where(liked & ~held_out, rng.integers(1, 4, liked.shape), 0)
    return csr_matrix(strength.astype(np.float32)), held_out


def fit(engine: Engine, matrix: UserItems, seed: int = 0, **changes: object) -> Factors:
    return engine.fit(matrix, SETTINGS.model_copy(update=changes), seed)


class EngineContract:
    """What holds for every engine; each has a class of its own that gives the fixture `engine`."""

    #: Whether the penalty of a row counts its entries, and the penalties that are tried.
    counted: ClassVar[bool] = False
    ridges: ClassVar[dict[str, float]] = {"weak": 0.5, "strong": 20.0}
    #: How far two equal fits may lie apart, relative to the largest factor.
    rounding: ClassVar[float] = 0.0

    @pytest.mark.parametrize(("seed", "ridge"), [(0, "weak"), (1, "strong")])
    def test_loss_comes_down_to_that_of_exact_solves(self, engine: Engine, seed: int, ridge: str) -> None:
        matrix, _ = draw_planted(seed, 60, 40)
        penalty = self.ridges[ridge]
        loss = Loss(matrix, penalty, counted=self.counted)
        path = [fit(engine, matrix, seed, iterations=sweeps, regularization=penalty) for sweeps in (1, 4, 15)]
        losses = [loss.of(found.user_factors, found.item_factors) for found in path]
        assert losses == sorted(losses, reverse=True)
        exact, nothing = min(loss.solved_exactly(start) for start in range(4)), loss.nothing()
        assert exact < 0.97 * nothing
        assert losses[-1] < exact + 0.03 * (nothing - exact)

    def test_whoever_was_not_observed_has_a_row_of_zeros(self, engine: Engine) -> None:
        dense = draw_planted(2, 30, 20)[0].toarray()
        dense[[0, 7, 29]], dense[:, [3, 19]] = 0, 0
        matrix = csr_matrix(dense)
        found = fit(engine, matrix, iterations=2)
        for rows, axis in ((found.user_factors, 1), (found.item_factors, 0)):
            assert rows.shape == (dense.shape[1 - axis], 4)
            assert rows.any(axis=1).tolist() == dense.any(axis=axis).tolist()
        assert np.array_equal(matrix.toarray(), dense), "the matrix is left as it was"

    def test_empty_matrix_gives_zeros(self, engine: Engine) -> None:
        found = fit(engine, csr_matrix((5, 3), dtype=np.float32))
        assert not found.user_factors.any()
        assert found.item_factors.shape == (3, 4)

    def test_factors_are_finite_float32(self, engine: Engine) -> None:
        found = fit(engine, draw_planted(3, 30, 20)[0], factors=40, iterations=3)
        for rows in (found.user_factors, found.item_factors):
            assert rows.dtype == np.float32
            assert np.isfinite(rows).all()
            assert rows.shape[1] == 40

    def test_same_seed_same_factors_and_another_seed_others(self, engine: Engine) -> None:
        matrix, _ = draw_planted(5, 30, 20)
        first, again, other = (fit(engine, matrix, seed, iterations=2).item_factors for seed in (3, 3, 4))
        apart = np.abs(first - again).max() / np.abs(first).max()
        assert apart <= self.rounding
        assert np.abs(first - other).max() / np.abs(first).max() > 0.01

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_held_out_likes_rank_far_above_popularity(self, engine: Engine, seed: int) -> None:
        matrix, held_out = draw_planted(seed, 200, 100)
        found = fit(engine, matrix, seed, iterations=8, regularization=self.ridges["weak"])
        unseen = matrix.toarray() == 0
        taste = found.user_factors @ found.item_factors.T
        popularity = np.broadcast_to(matrix.getnnz(axis=0), taste.shape)
        aucs = [auc(scores[unseen], held_out[unseen]) for scores in (taste, popularity)]
        assert aucs[0] > max(0.9, aucs[1] + 0.15)


def auc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    ranks = rankdata(scores)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(ranks / (positive.sum() * (~positive).sum()))
