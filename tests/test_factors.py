"""Scores and top-n against loops and full sorts."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.factors import Factors, TopN, _factors, _plain, _pruned, _top_n
from recsys.factors._scores import lengths_of, pair_scores, slacks_of

Ranked = list[tuple[int, int, float]]
RANKERS = {"plain": 10**18, "compiled": 0}


@pytest.fixture(params=RANKERS)
def ranker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Rank with and without the compiled loops."""
    monkeypatch.setattr(_top_n, "_WORTH_COMPILING", RANKERS[request.param])
    return str(request.param)


def draw(seed: int, users: int, items: int, whole: bool = True, factors: int = 3) -> Factors:
    """Draw factors; small whole numbers make exact scores and many ties."""
    rng = np.random.default_rng(seed)
    shapes = ((users, factors), (items, factors))
    if whole:
        return Factors(*(rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes))
    return Factors(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def draw_exclusions(seed: int, users: int, items: int) -> csr_matrix:
    rng = np.random.default_rng(seed)
    excluded = rng.random((users, items)) < rng.choice([0.0, 0.3, 0.95, 1.0], (users, 1))
    return csr_matrix(excluded.astype(np.float32))


def score(x: NDArray[np.float32], y: NDArray[np.float32]) -> float:
    """Add the products of two rows by halves, in double precision, as is said of `pair_scores`."""
    terms = [float(a) * float(b) for a, b in zip(x, y, strict=True)]
    terms += [0.0] * (max(8, 2 ** int(np.ceil(np.log2(len(terms))))) - len(terms))
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [a + b for a, b in zip(terms[:half], terms[half:], strict=True)]
    return float(np.float32(terms[0]))


def brute_force(factors: Factors, n: int, excluded: NDArray[np.bool_]) -> Ranked:
    ranked: Ranked = []
    for user, row in enumerate(excluded):
        scores = [score(factors.user_factors[user], item) for item in factors.item_factors]
        allowed = [item for item in range(len(scores)) if not row[item]]
        best = sorted(allowed, key=lambda item: (-scores[item], item))[:n]
        ranked += [(user, item, scores[item]) for item in best]
    return ranked


def as_rows(found: TopN) -> Ranked:
    assert (found.users.dtype, found.items.dtype, found.scores.dtype) == (np.int32, np.int32, np.float32)
    return list(zip(found.users.tolist(), found.items.tolist(), found.scores.tolist(), strict=True))


def as_list(factors: Factors, n: int, exclude: csr_matrix | None = None, threads: int = 0) -> Ranked:
    return as_rows(factors.top_n(n, exclude, threads))


def set_blocks(monkeypatch: pytest.MonkeyPatch, users: int, items: int) -> None:
    monkeypatch.setattr(_plain, "_CELLS", users * items)
    monkeypatch.setattr(_pruned, "_USERS", users)
    monkeypatch.setattr(_pruned, "_ITEMS", items)


@pytest.mark.usefixtures("ranker")
class TestTopN:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("n", [1, 4, 29, 30, 31, 500])
    def test_equals_a_full_sort_with_ties_to_the_first_item(self, seed: int, n: int) -> None:
        factors, exclude = draw(seed, 20, 30), draw_exclusions(seed, 20, 30)
        assert as_list(factors, n, exclude) == brute_force(factors, n, exclude.toarray() > 0)
        assert as_list(factors, n) == brute_force(factors, n, np.zeros((20, 30), bool))

    @pytest.mark.parametrize("n", [1, 7, 300])
    @pytest.mark.parametrize("width", [1, 3, 8, 20])
    def test_equals_a_full_sort_to_the_bit(self, monkeypatch: pytest.MonkeyPatch, n: int, width: int) -> None:
        set_blocks(monkeypatch, 5, 70)
        factors, exclude = draw(n, 12, 700, False, width), draw_exclusions(n, 12, 700)
        # Lengths from 1/50 to 50, so that some blocks cannot matter.
        factors.item_factors[:] *= np.geomspace(0.02, 50, 700, dtype=np.float32)[:, None]
        assert as_list(factors, n, exclude) == brute_force(factors, n, exclude.toarray() > 0)

    def test_all_tied(self) -> None:
        flat = Factors(np.ones((2, 1), np.float32), np.ones((50, 1), np.float32))
        assert [item for _, item, _ in as_list(flat, 7)] == [*range(7), *range(7)]

    @pytest.mark.parametrize("n", [1, 10, 150])
    def test_more_ties_than_there_is_room_for(self, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
        set_blocks(monkeypatch, 3, 200)
        factors = draw(1, 4, 1_500)
        assert as_list(factors, n) == brute_force(factors, n, np.zeros((4, 1_500), bool))

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("step", [0.0, 1e-7])
    def test_items_closer_than_a_product_can_tell(
        self, monkeypatch: pytest.MonkeyPatch, sign: int, step: float
    ) -> None:
        set_blocks(monkeypatch, 2, 100)
        rng = np.random.default_rng(0)
        # The same numbers in another order: equal scores, unequal sums in single precision.
        items = np.array([rng.permutation(np.geomspace(0.01, 1, 64)) for _ in range(600)])
        items *= sign * (1 + step * rng.permutation(600))[:, None]
        factors = Factors(np.ones((3, 64), np.float32), items.astype(np.float32))
        assert as_list(factors, 20) == brute_force(factors, 20, np.zeros((3, 600), bool))

    def test_the_longest_items_may_be_the_worst(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_blocks(monkeypatch, 2, 10)
        items = -np.arange(1, 301, dtype=np.float32)[:, None]
        factors = Factors(np.array([[1], [-1]], np.float32), items)
        assert [item for _, item, _ in as_list(factors, 3)] == [0, 1, 2, 299, 298, 297]

    def test_two_zeros_are_one_number(self) -> None:
        # As wide as the sums are: without padding, eight times -0.0 is -0.0.
        items = np.array([[-0.0] * 8, [0.0] * 8, [1.0, -1.0] * 4], np.float32)
        assert as_list(Factors(np.ones((1, 8), np.float32), items), 3) == [
            (0, 0, 0.0),
            (0, 1, 0.0),
            (0, 2, 0.0),
        ]

    @pytest.mark.parametrize("n", [1, 2, 4])
    def test_who_has_no_factors_gets_the_first_items(self, n: int) -> None:
        factors = draw(0, 3, 6)
        factors.user_factors[:2] = 0
        exclude = csr_matrix(np.array([[0] * 6, [1, 0, 1, 0, 1, 1], [0] * 6], np.float32))
        assert as_list(factors, n, exclude) == brute_force(factors, n, exclude.toarray() > 0)

    def test_user_with_everything_excluded_gets_nothing(self) -> None:
        factors = draw(0, 3, 4)
        exclude = csr_matrix(np.array([[1] * 4, [0] * 4, [0, 1, 1, 1]], np.float32))
        assert [user for user, _, _ in as_list(factors, 2, exclude)] == [1, 1, 2]

    @pytest.mark.parametrize(("users", "items", "n"), [(0, 4, 2), (3, 0, 2), (0, 0, 2), (3, 4, 0)])
    def test_nothing_to_rank(self, users: int, items: int, n: int) -> None:
        assert as_list(draw(0, users, items), n) == []

    @pytest.mark.parametrize("threads", [1, 2, 3])
    @pytest.mark.parametrize("block", [(1, 1), (7, 10), (512, 512)])
    def test_threads_and_blocks_change_nothing(
        self, monkeypatch: pytest.MonkeyPatch, threads: int, block: tuple[int, int]
    ) -> None:
        factors, exclude = draw(5, 50, 300, False, 16), draw_exclusions(5, 50, 300)
        expected = as_list(factors, 5, exclude)
        set_blocks(monkeypatch, *block)
        assert as_list(factors, 5, exclude, threads) == expected

    def test_the_score_of_a_pair_does_not_depend_on_the_others(self) -> None:
        factors = draw(6, 40, 300, False, 33)
        together = as_list(factors, 300)
        for user in (0, 17):
            alone = Factors(factors.user_factors[[user]], factors.item_factors[:50])
            scores = {item: value for who, item, value in together if who == user and item < 50}
            assert {item: value for _, item, value in as_list(alone, 50)} == scores


class TestCompiledLoops:
    @pytest.mark.parametrize("prune", [True, False])
    def test_items_that_are_too_short_are_left_out(
        self, monkeypatch: pytest.MonkeyPatch, prune: bool
    ) -> None:
        monkeypatch.setattr(_top_n, "_WORTH_COMPILING", 0)
        set_blocks(monkeypatch, 64, 50)
        rows: list[int] = []
        multiply: Callable[..., Any] = np.matmul
        monkeypatch.setattr(np, "matmul", lambda a, b, out: (rows.append(len(a)), multiply(a, b, out=out)))
        factors = draw(1, 64, 1_000, False)
        items = factors.item_factors * np.geomspace(1, 1e-4, 1_000, dtype=np.float32)[:, None]
        found = _top_n.Ranker(items, 5, prune).rank(factors.user_factors)
        assert as_rows(found) == brute_force(
            Factors(factors.user_factors, items), 5, np.zeros((64, 1_000), bool)
        )
        assert sum(rows) == 64 * 20 if not prune else sum(rows) < 64 * 10

    def test_they_work_where_nothing_can_be_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        njit: Callable[..., Any] = numba.njit

        def refuse(cache: bool = False, **options: bool) -> Callable[..., Any]:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return njit(**options)

        monkeypatch.setattr(numba, "njit", refuse)
        loops = runpy.run_path(str(Path(_top_n.__file__).with_name("_loops.py")))
        monkeypatch.undo()  # numba itself keeps some of what it compiles
        candidates = np.array([5, 3, 9, 1], np.uint64)
        assert loops["_bring_forward"](candidates, 2) == 3


class TestPairScores:
    @pytest.mark.parametrize("factors", [1, 5, 64, 129])
    def test_equal_a_loop_and_no_product_is_further_than_half_the_slack(self, factors: int) -> None:
        rng = np.random.default_rng(factors)
        users, items = (rng.normal(size=(50, factors)).astype(np.float32) for _ in "ui")
        # Large terms that cancel.
        items[1] = items[0] * np.where(np.arange(factors) % 2, -1, 1)
        places = np.arange(50)
        found = pair_scores(users, items, places, places)
        assert found.tolist() == [score(x, y) for x, y in zip(users, items, strict=True)]
        in_turn = np.add.accumulate(users * items, axis=1, dtype=np.float32)[:, -1]
        half = slacks_of(lengths_of(users), float(lengths_of(items).max()), factors) / 2
        assert (np.abs(in_turn.astype(np.float64) - found) <= half).all()
        assert (half < 1e-4 * lengths_of(users) * lengths_of(items).max()).all()


class TestScores:
    @pytest.mark.parametrize("chunk", [3, 65_536])
    def test_equal_loops_and_nothing_for_the_unseen(
        self, monkeypatch: pytest.MonkeyPatch, chunk: int
    ) -> None:
        monkeypatch.setattr(_factors, "_PAIR_CHUNK", chunk)
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
