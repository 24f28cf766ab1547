"""Scores and top-n against loops and full sorts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys import factors as module
from recsys.factors import Factors

Ranked = list[tuple[int, int, float]]


def draw(seed: int, users: int, items: int, whole: bool = True) -> Factors:
    """Draw factors; small whole numbers make exact scores and many ties."""
    rng = np.random.default_rng(seed)
    shapes = ((users, 3), (items, 3))
    if whole:
        return Factors(*(rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes))
    return Factors(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def draw_exclusions(seed: int, users: int, items: int) -> csr_matrix:
    rng = np.random.default_rng(seed)
    excluded = rng.random((users, items)) < rng.choice([0.0, 0.3, 0.95, 1.0], (users, 1))
    return csr_matrix(excluded.astype(np.float32))


def brute_force(factors: Factors, n: int, excluded: NDArray[np.bool_]) -> Ranked:
    ranked: Ranked = []
    for user, row in enumerate(excluded):
        scores = [float(np.dot(factors.user_factors[user], item)) for item in factors.item_factors]
        allowed = [item for item in range(len(scores)) if not row[item]]
        best = sorted(allowed, key=lambda item: (-scores[item], item))[:n]
        ranked += [(user, item, scores[item]) for item in best]
    return ranked


def as_list(factors: Factors, n: int, exclude: csr_matrix | None = None, threads: int = 0) -> Ranked:
    found = factors.top_n(n, exclude, threads)
    assert (found.users.dtype, found.items.dtype, found.scores.dtype) == (np.int32, np.int32, np.float32)
    return list(zip(found.users.tolist(), found.items.tolist(), found.scores.tolist(), strict=True))


class TestTopN:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("n", [1, 4, 29, 30, 31, 500])
    def test_equals_a_full_sort_with_ties_to_the_first_item(self, seed: int, n: int) -> None:
        factors, exclude = draw(seed, 20, 30), draw_exclusions(seed, 20, 30)
        assert as_list(factors, n, exclude) == brute_force(factors, n, exclude.toarray() > 0)
        assert as_list(factors, n) == brute_force(factors, n, np.zeros((20, 30), bool))

    def test_all_tied(self) -> None:
        flat = Factors(np.ones((2, 1), np.float32), np.ones((50, 1), np.float32))
        assert [item for _, item, _ in as_list(flat, 7)] == [*range(7), *range(7)]

    def test_user_with_everything_excluded_gets_nothing(self) -> None:
        factors = draw(0, 3, 4)
        exclude = csr_matrix(np.array([[1] * 4, [0] * 4, [0, 1, 1, 1]], np.float32))
        assert [user for user, _, _ in as_list(factors, 2, exclude)] == [1, 1, 2]

    @pytest.mark.parametrize(("users", "items", "n"), [(0, 4, 2), (3, 0, 2), (0, 0, 2), (3, 4, 0)])
    def test_nothing_to_rank(self, users: int, items: int, n: int) -> None:
        assert as_list(draw(0, users, items), n) == []

    @pytest.mark.parametrize("threads", [1, 2, 3])
    @pytest.mark.parametrize("cells", [1, 70, 8_000_000])
    def test_threads_and_blocks_change_nothing(
        self, monkeypatch: pytest.MonkeyPatch, threads: int, cells: int
    ) -> None:
        factors, exclude = draw(5, 50, 30), draw_exclusions(5, 50, 30)
        expected = as_list(factors, 5, exclude)
        monkeypatch.setattr(module, "_BLOCK_CELLS", cells)
        assert as_list(factors, 5, exclude, threads) == expected

    def test_threads_change_no_byte_of_broken_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_BLOCK_CELLS", 3_000)
        factors = draw(6, 200, 300, whole=False)
        one, *others = (factors.top_n(9, threads=threads) for threads in (1, 2, 3))
        for other in others:
            assert one.scores.tobytes() == other.scores.tobytes()
            assert one.items.tobytes() == other.items.tobytes()


class TestScores:
    @pytest.mark.parametrize("chunk", [3, 65_536])
    def test_equal_loops_and_nothing_for_the_unseen(
        self, monkeypatch: pytest.MonkeyPatch, chunk: int
    ) -> None:
        monkeypatch.setattr(module, "_PAIR_CHUNK", chunk)
        factors, rng = draw(1, 6, 5, whole=False), np.random.default_rng(1)
        users, items = rng.integers(-1, 6, 40, np.int32), rng.integers(-1, 5, 40, np.int32)
        expected = [
            0.0
            if min(u, i) < 0
            else sum(factors.user_factors[u, f] * factors.item_factors[i, f] for f in range(3))
            for u, i in zip(users, items, strict=True)
        ]
        np.testing.assert_allclose(factors.scores(users, items), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize(("users", "items"), [(0, 4), (3, 0)])
    def test_without_anybody_all_are_unseen(self, users: int, items: int) -> None:
        nobody = np.full(2, -1, np.int32)
        factors = draw(0, users, items)
        assert factors.scores(nobody, nobody).tolist() == [0.0, 0.0]
        assert factors.is_warm(nobody, nobody).tolist() == [False, False]

    def test_typical_score_is_the_root_mean_square_over_warm_pairs(self) -> None:
        factors = draw(3, 9, 7, whole=False)
        factors.user_factors[[2, 5]], factors.item_factors[0] = 0, 0
        scores = [
            float(u @ i) for u in factors.user_factors for i in factors.item_factors if u.any() and i.any()
        ]
        assert factors.typical_score == pytest.approx(np.sqrt(np.mean(np.square(scores))), rel=1e-5)

    @pytest.mark.parametrize(
        "factors", [draw(0, 0, 3), Factors(*(np.zeros((2, 2), np.float32) for _ in "ui"))]
    )
    def test_where_nothing_was_observed_the_unit_is_one(self, factors: Factors) -> None:
        assert factors.typical_score == 1.0

    def test_warm_means_that_both_sides_were_observed(self) -> None:
        factors = Factors(np.array([[0, 0], [0, 1]], np.float32), np.array([[2, 0], [0, 0]], np.float32))
        pairs = [(u, i) for u in (-1, 0, 1) for i in (-1, 0, 1)]
        users, items = np.array(pairs, np.int32).T
        assert [pair for pair, warm in zip(pairs, factors.is_warm(users, items), strict=True) if warm] == [
            (1, 0)
        ]
