"""The compiled solver, with implicit's own and a dense one in float64 as oracles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares, calculate_loss
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.config import ModelSettings
from recsys.engines import LocalEngine, local
from recsys.engines._compiled import CompiledAlternatingLeastSquares, solve_rows
from recsys.matrix import UserItems, one_blas_thread

ROOT = Path(__file__).parents[1]
REGULARIZATION = 0.7


@pytest.fixture(autouse=True)
def _one_blas_thread() -> Iterator[None]:
    with one_blas_thread():
        yield


def draw_matrix(seed: int, n: int = 150, m: int = 90, density: float = 0.1) -> UserItems:
    """Draw confidences, a quarter of them negative, some 0 and some 1; rows and columns without any."""
    rng = np.random.default_rng(seed)
    found = csr_matrix((rng.random((n, m)) < density).astype(np.float32))
    found.data[:] = rng.choice([0.0, 1.0, 2.5, 11.0, 40.0, -1.0, -0.5, -12.0], len(found.data))
    kept = np.ones((n, m), bool)
    kept[[0, n // 2, n - 1]], kept[:, [3, m - 1]] = False, False
    coo = found.tocoo()
    kept = kept[coo.row, coo.col]
    return csr_matrix((coo.data[kept], (coo.row[kept], coo.col[kept])), shape=(n, m))


def draw_rows(seed: int, n: int, factors: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, factors)).astype(np.float32)


def solve_densely(
    matrix: UserItems, solved: NDArray[np.float32], fixed: NDArray[np.float32], steps: int
) -> NDArray[np.float64]:
    """Take conjugate gradient steps on each row's own normal equations, in float64."""
    y, found = fixed.astype(float), solved.astype(float)
    for row in range(len(found)):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        c, places = matrix.data[entries].astype(float), matrix.indices[entries]
        weights, target = np.ones(len(y)), np.zeros(len(y))
        weights[places], target[places] = np.abs(c), np.maximum(c, 0)
        a = (y.T * weights) @ y + REGULARIZATION * np.eye(y.shape[1])
        found[row] = descend(a, y.T @ target, found[row], steps) if len(c) else 0
    return found


def descend(
    a: NDArray[np.float64], b: NDArray[np.float64], x: NDArray[np.float64], steps: int
) -> NDArray[np.float64]:
    """Minimise over the Krylov space of the residual, by least squares: what conjugate gradients do."""
    residual = b - a @ x
    space = np.empty((len(b), 0))
    for _ in range(min(steps, len(b))):
        direction = residual if not space.shape[1] else a @ space[:, -1]
        direction = direction - space @ (space.T @ direction)
        direction = direction - space @ (space.T @ direction)
        space = np.column_stack([space, direction / np.linalg.norm(direction)])
    return np.asarray(x + space @ np.linalg.solve(space.T @ a @ space, space.T @ residual))


def solve_with_implicit(matrix: UserItems, solved: NDArray[np.float32], fixed: NDArray[np.float32]) -> None:
    AlternatingLeastSquares().solver(matrix, solved, fixed, REGULARIZATION, num_threads=1)


def close(found: NDArray[np.float32], expected: NDArray[np.floating], tolerance: float = 2e-5) -> bool:
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())


@pytest.mark.parametrize("factors", [1, 2, 5, 7, 16, 17, 32, 33, 50, 64, 65, 100, 128, 200])
def test_rows_are_those_of_implicit_and_of_dense_steps(factors: int) -> None:
    matrix, fixed = draw_matrix(factors), draw_rows(1, 90, factors)
    start = draw_rows(2, 150, factors)
    ours, theirs = start.copy(), start.copy()
    solve_rows(matrix, ours, fixed, REGULARIZATION)
    solve_with_implicit(matrix, theirs, fixed)
    assert close(ours, solve_densely(matrix, start, fixed, 3), 1e-4)
    assert close(ours, theirs, 1e-4)
    assert not ours[[0, 75, 149]].any()


@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_any_number_of_steps(steps: int) -> None:
    matrix, fixed, start = draw_matrix(3), draw_rows(1, 90, 8), draw_rows(2, 150, 8)
    ours = start.copy()
    solve_rows(matrix, ours, fixed, REGULARIZATION, cg_steps=steps)
    assert close(ours, solve_densely(matrix, start, fixed, steps), 1e-4)


@pytest.mark.parametrize("width", [3, 64, 100])
def test_a_row_longer_than_any_block_among_short_ones(width: int) -> None:
    matrix = csr_matrix(draw_matrix(4, 300, 9000, 0.002))
    dense = matrix.toarray()
    dense[[7, 200]] = np.where(np.arange(9000) % 3 > 0, 4.0, -2.0)
    matrix, fixed = csr_matrix(dense), draw_rows(1, 9000, width) * np.float32(0.1)
    ours = draw_rows(2, 300, width) * np.float32(0.1)
    theirs = ours.copy()
    solve_rows(matrix, ours, fixed, REGULARIZATION)
    solve_with_implicit(matrix, theirs, fixed)
    assert close(ours, theirs, 1e-4)


@pytest.mark.parametrize("factors", [16, 50, 64])
def test_loss_after_each_iteration_is_that_of_implicit(factors: int) -> None:
    # With less regularization rounding grows from one iteration to the next, in implicit too.
    matrix, ridge = draw_matrix(5, 400, 200), 20.0
    losses: list[list[float]] = [[], []]
    for kind, path in zip((CompiledAlternatingLeastSquares, AlternatingLeastSquares), losses, strict=True):
        als = kind(factors=factors, regularization=ridge, iterations=10, random_state=1)

        def note(*_: object, als: AlternatingLeastSquares = als, path: list[float] = path) -> None:
            path.append(calculate_loss(matrix, als.user_factors, als.item_factors, ridge))

        als.fit(matrix, show_progress=False, callback=note)
    assert len(losses[0]) == 10
    assert np.allclose(*losses, rtol=1e-4, atol=0)


@pytest.mark.parametrize("factors", [7, 64, 100])
def test_threads_change_no_byte(factors: int) -> None:
    matrix, fixed, start = (
        draw_matrix(6, 20_000, 300, 0.05),
        draw_rows(1, 300, factors),
        draw_rows(2, 20_000, factors),
    )
    found = []
    for threads in (1, 2, 4):
        rows = start.copy()
        solve_rows(matrix, rows, fixed, REGULARIZATION, num_threads=threads)
        found.append(rows.tobytes())
    assert found[0] == found[1] == found[2]


def test_a_row_that_is_solved_stays_and_one_without_entries_becomes_zero() -> None:
    fixed = np.eye(4, dtype=np.float32)
    start = np.array([[0, 0, 0, 0], [1, 2, 3, 4]], np.float32)
    start[0, 1] = 2 / (2 + 1)
    rows = start.copy()
    solve_rows(csr_matrix(([2.0], ([0], [1])), shape=(2, 4), dtype=np.float32), rows, fixed, 1.0)
    assert np.allclose(rows[0], start[0], atol=1e-7)
    assert not rows[1].any()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 1)])
def test_nothing_to_solve(shape: tuple[int, int]) -> None:
    rows = draw_rows(1, shape[0], 6)
    solve_rows(csr_matrix(shape, dtype=np.float32), rows, draw_rows(2, shape[1], 6), 1.0)
    assert not rows.any()


def test_rows_that_are_not_contiguous_are_solved_in_place() -> None:
    matrix, fixed = draw_matrix(7), draw_rows(1, 90, 6)
    whole = np.asfortranarray(draw_rows(2, 150, 6))
    plain = np.ascontiguousarray(whole)
    solve_rows(matrix, whole, fixed, REGULARIZATION)
    solve_rows(matrix, plain, np.asfortranarray(fixed), REGULARIZATION)
    assert np.array_equal(whole, plain)


class TestClass:
    def test_recommends_saves_loads_and_explains_as_implicit_does(self, tmp_path: Path) -> None:
        matrix = abs(draw_matrix(8))
        ours, theirs = (
            kind(factors=8, iterations=5, random_state=2)
            for kind in (CompiledAlternatingLeastSquares, AlternatingLeastSquares)
        )
        ours.fit(matrix, show_progress=False)
        theirs.fit(matrix, show_progress=False)
        ids, scores = ours.recommend(5, matrix[5], N=6)
        assert np.array_equal(ids, theirs.recommend(5, matrix[5], N=6)[0])
        ours.save(tmp_path / "als.npz")
        again = CompiledAlternatingLeastSquares.load(tmp_path / "als.npz")
        assert type(again) is CompiledAlternatingLeastSquares
        assert np.array_equal(again.recommend(5, matrix[5], N=6)[1], scores)
        told, expected = (als.explain(5, matrix, int(ids[0])) for als in (ours, theirs))
        assert told[0] == pytest.approx(expected[0], rel=1e-3)
        assert [item for item, _ in told[1]] == [item for item, _ in expected[1]]

    @pytest.mark.parametrize("changes", [{"dtype": np.float64}, {"use_cg": False}, {"use_native": False}])
    def test_what_is_not_compiled_is_implicits(self, changes: dict[str, object]) -> None:
        matrix, found = draw_matrix(9, 30, 20, 0.3), []
        for kind in (CompiledAlternatingLeastSquares, AlternatingLeastSquares):
            als = kind(factors=4, iterations=2, random_state=2, **changes)
            als.fit(abs(matrix), show_progress=False)
            found.append(als.user_factors)
        assert np.array_equal(*found)


class TestChoice:
    def chosen(self, solver: str, entries: int = 10, **changes: int) -> str:
        matrix = csr_matrix(np.ones((entries, 1), np.float32))
        settings = ModelSettings(factors=10, iterations=10).model_copy(update={"solver": solver, **changes})
        return str(local._solver_class(matrix, settings).__name__)

    def test_settings_choose(self) -> None:
        assert self.chosen("implicit", 100_000, factors=4096) == "AlternatingLeastSquares"
        assert self.chosen("compiled") == "CompiledAlternatingLeastSquares"

    def test_auto_counts_entries_and_iterations(self) -> None:
        enough = local.COMPILED_FROM // 1000
        assert self.chosen("auto", 1000, iterations=enough).startswith("Compiled")
        assert self.chosen("auto", 999, iterations=enough).startswith("Alternating")
        assert self.chosen("auto", 1000, iterations=enough - 1).startswith("Alternating")

    def test_engine_fits_the_same_with_either(self) -> None:
        matrix = csr_matrix(np.abs(draw_matrix(10, 300, 120).toarray()) > 0, dtype=np.float32)
        found = [
            LocalEngine(1).fit(matrix, ModelSettings(factors=12, iterations=4, solver=solver), 0)
            for solver in ("compiled", "implicit")
        ]
        assert close(
            found[0].user_factors @ found[0].item_factors.T,
            found[1].user_factors @ found[1].item_factors.T,
            0.01,  # rounding, magnified: implicit differs as much from itself with its factors in another order
        )


@pytest.mark.parametrize("factors", [6, 16, 64])
def test_scores_are_as_near_to_those_of_exact_arithmetic_as_implicits_are(factors: int) -> None:
    # The steps magnify rounding: implicit with its factors in another order is as far from itself.
    far = {"ours": 0.0, "implicit": 0.0}
    for seed in range(6):
        matrix = abs(draw_matrix(seed, 60, 40))
        transposed = csr_matrix(matrix.T)
        start = [draw_rows(seed, n, factors) * np.float32(0.01) for n in (60, 40)]
        exact = iterate(solve_densely_in_place, matrix, transposed, [side.astype(float) for side in start])
        for name, solve in (("ours", solve_ours), ("implicit", solve_with_implicit)):
            scores = iterate(solve, matrix, transposed, [side.copy() for side in start])
            far[name] += float(np.sqrt(((scores - exact) ** 2).mean()) / np.sqrt((exact**2).mean()))
    assert far["ours"] < 2 * far["implicit"]
    assert far["ours"] / 6 < 0.01


def iterate(solve: Callable[..., None], matrix: UserItems, transposed: UserItems, sides: list[Any]) -> Any:
    for _ in range(4):
        solve(matrix, sides[0], sides[1])
        solve(transposed, sides[1], sides[0])
    return sides[0] @ sides[1].T


def solve_ours(matrix: UserItems, solved: NDArray[np.float32], fixed: NDArray[np.float32]) -> None:
    solve_rows(matrix, solved, fixed, REGULARIZATION)


def solve_densely_in_place(matrix: UserItems, solved: NDArray[Any], fixed: NDArray[Any]) -> None:
    solved[:] = solve_densely(matrix, solved, fixed, 3)


SCRIPT = """
import hashlib
import numpy as np
from scipy.sparse import csr_matrix
from recsys.config import ModelSettings
from recsys.engines import LocalEngine
matrix = csr_matrix(np.random.default_rng(0).random((50, 40)) < 0.2, dtype=np.float32)
factors = LocalEngine(2).fit(matrix, ModelSettings(factors=20, solver="compiled"), 0)
from recsys.engines import _loops
print(_loops.solve_blocks.stats.cache_path)
print(hashlib.sha256(factors.user_factors.tobytes()).hexdigest())
"""


def start(folder: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        cwd=folder,  # from where recsys is imported
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_that_compile_at_once_and_one_that_can_keep_nothing_agree(tmp_path: Path) -> None:
    cache, copy = tmp_path / "cache", tmp_path / "copy"
    shutil.copytree(ROOT / "recsys", copy / "recsys", ignore=shutil.ignore_patterns("__pycache__"))
    # Neither beside the code nor in the home folder, for root too.
    (copy / "recsys" / "engines" / "__pycache__").touch()
    nowhere = str(copy / "recsys" / "__init__.py")
    homeless = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    running = [*(start(ROOT, NUMBA_CACHE_DIR=str(cache)) for _ in range(2)), start(copy, **homeless)]
    told = [process.communicate() for process in running]
    assert [error for _, error in told] == ["", "", ""]
    places, found = zip(*(output.split("\n")[:2] for output, _ in told), strict=True)
    assert len(set(found)) == 1
    assert all(place.startswith(str(cache)) for place in places[:2])
    assert places[2] == "None"
    assert any(cache.rglob("*.nbc"))
