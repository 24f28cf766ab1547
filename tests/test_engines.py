"""One contract for every engine, with a dense solver as oracle."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from recsys.config import ModelSettings
from recsys.engines import Engine, LocalEngine, engine_for
from recsys.factors import Factors
from recsys.matrix import UserItems

SETTINGS = ModelSettings(factors=4, iterations=15, alpha=10.0, regularization=0.5)
ENGINES = {"local": LocalEngine}


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param](threads=1)


def draw_planted(seed: int, users: int, items: int, rank: int = 3) -> tuple[UserItems, NDArray[np.bool_]]:
    """Draw strengths of half of the pairs a low-rank taste likes; the other half is held out."""
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(users, rank)) @ rng.normal(size=(rank, items)) + rng.normal(size=items) / 2
    liked = taste > np.quantile(taste, 0.85)
    held_out = liked & (rng.random(liked.shape) < 0.5)
    strength = np.where(liked & ~held_out, rng.integers(1, 4, liked.shape), 0)
    return csr_matrix(strength.astype(np.float32)), held_out


def loss(matrix: UserItems, users: NDArray[np.float64], items: NDArray[np.float64], ridge: float) -> float:
    """Sum over every pair, as in Hu, Koren and Volinsky (2008)."""
    r = matrix.toarray().astype(float)
    misfit = ((1 + SETTINGS.alpha * r) * ((r > 0) - users.astype(float) @ items.T) ** 2).sum()
    return float(misfit + ridge * ((users**2).sum() + (items**2).sum()))


def solve_exactly(matrix: UserItems, seed: int, ridge: float, sweeps: int = 15) -> float:
    """Alternate exact solves in float64, densely, from another start."""
    r = matrix.toarray().astype(float)
    items = np.random.default_rng(seed).normal(size=(r.shape[1], SETTINGS.factors)) * 0.1
    penalty = ridge * np.eye(SETTINGS.factors)

    def solve(strengths: NDArray[np.float64], fixed: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = []
        for row in strengths:
            c = 1 + SETTINGS.alpha * row
            rows.append(np.linalg.solve((fixed.T * c) @ fixed + penalty, (fixed.T * c) @ (row > 0)))
        return np.array(rows)

    for _ in range(sweeps):
        users = solve(r, items)
        items = solve(r.T, users)
    return loss(matrix, users, items, ridge)


def fit(engine: Engine, matrix: UserItems, seed: int = 0, **changes: object) -> Factors:
    return engine.fit(matrix, SETTINGS.model_copy(update=changes), seed)


class TestContract:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("ridge", [0.5, 20.0])
    def test_loss_comes_down_to_that_of_exact_solves(self, engine: Engine, seed: int, ridge: float) -> None:
        matrix, _ = draw_planted(seed, 60, 40)
        path = [
            fit(engine, matrix, seed, iterations=sweeps, regularization=ridge) for sweeps in (1, 2, 4, 15)
        ]
        losses = [loss(matrix, found.user_factors, found.item_factors, ridge) for found in path]
        assert losses == sorted(losses, reverse=True)
        nothing = loss(matrix, np.zeros((60, 4)), np.zeros((40, 4)), ridge)
        exact = min(solve_exactly(matrix, start, ridge) for start in range(4))
        assert losses[-1] < exact + 0.03 * (nothing - exact)

    def test_whoever_was_not_observed_has_a_row_of_zeros(self, engine: Engine) -> None:
        dense = draw_planted(2, 30, 20)[0].toarray()
        dense[[0, 7, 29]], dense[:, [3, 19]] = 0, 0
        found = fit(engine, csr_matrix(dense))
        assert (found.user_factors.shape, found.item_factors.shape) == ((30, 4), (20, 4))
        assert (
            np.flatnonzero(~found.user_factors.any(axis=1)).tolist() == np.flatnonzero(~dense.any(1)).tolist()
        )
        assert (
            np.flatnonzero(~found.item_factors.any(axis=1)).tolist() == np.flatnonzero(~dense.any(0)).tolist()
        )

    def test_empty_matrix_gives_zeros(self, engine: Engine) -> None:
        found = fit(engine, csr_matrix((5, 3), dtype=np.float32))
        assert not found.user_factors.any()
        assert found.item_factors.shape == (3, 4)

    def test_factors_are_finite_float32(self, engine: Engine) -> None:
        found = fit(engine, draw_planted(3, 30, 20)[0], factors=40)
        for rows in (found.user_factors, found.item_factors):
            assert rows.dtype == np.float32
            assert np.isfinite(rows).all()

    def test_matrix_is_left_as_it_was(self, engine: Engine) -> None:
        matrix, _ = draw_planted(4, 30, 20)
        before = matrix.toarray()
        fit(engine, matrix)
        assert np.array_equal(matrix.toarray(), before)

    def test_same_seed_same_bytes_and_another_seed_others(self, engine: Engine) -> None:
        matrix, _ = draw_planted(5, 30, 20)
        first, again, other = (fit(engine, matrix, seed).item_factors.tobytes() for seed in (3, 3, 4))
        assert first == again != other

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_held_out_likes_rank_far_above_popularity(self, engine: Engine, seed: int) -> None:
        matrix, held_out = draw_planted(seed, 200, 100)
        found = fit(engine, matrix, seed)
        unseen = matrix.toarray() == 0
        taste = found.user_factors @ found.item_factors.T
        popularity = np.broadcast_to(matrix.getnnz(axis=0), taste.shape)
        aucs = [auc(scores[unseen], held_out[unseen]) for scores in (taste, popularity)]
        assert aucs[0] > max(0.9, aucs[1] + 0.15)

    @pytest.mark.parametrize("blas", [1, 2])
    @pytest.mark.parametrize("threads", [0, 1, 2])
    def test_threads_change_no_byte(self, engine: Engine, threads: int, blas: int) -> None:
        weights = np.random.default_rng(1).random((400, 200), np.float32)
        matrix = csr_matrix(np.where(weights < 0.05, weights, np.float32(0)))
        expected = fit(engine, matrix, factors=17)
        with threadpool_limits(blas, user_api="blas"):
            found = fit(type(engine)(threads=threads), matrix, factors=17)
        assert found.user_factors.tobytes() == expected.user_factors.tobytes()
        assert found.item_factors.tobytes() == expected.item_factors.tobytes()


def auc(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> float:
    ranks = rankdata(scores)[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(ranks / (positive.sum() * (~positive).sum()))


def test_settings_choose_the_engine() -> None:
    assert engine_for(SETTINGS, threads=2) == LocalEngine(2)


def test_first_fit_of_a_process_already_holds_blas_to_one_thread() -> None:
    # implicit warns when it does not; BLAS is loaded by the first import that needs it.
    script = """
from scipy.sparse import csr_matrix
from recsys.config import ModelSettings
from recsys.engines import LocalEngine
LocalEngine().fit(csr_matrix([[1, 0], [0, 1]], dtype="f4"), ModelSettings(factors=2), 0)
"""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
