"""What an iteration of ALS costs: implicit's solver and the compiled one, on the same matrix from the same start.

    uv run python tests/benchmarks/solver.py
    uv run python tests/benchmarks/solver.py --users 20000 --items 5000 --entries 500000 --factors 32

One process, the solvers in turn. CPU is that of all threads of the process. cmfrec and lenskit are measured where they
are installed, over a whole fit, since they show no iteration.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares, calculate_loss
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.engines._compiled import CompiledAlternatingLeastSquares
from recsys.matrix import UserItems, one_blas_thread

REGULARIZATION = 0.05
CLASSES = {"implicit": AlternatingLeastSquares, "compiled": CompiledAlternatingLeastSquares}
Figures = NDArray[np.float64]


def draw_matrix(users: int, items: int, entries: int, seed: int) -> UserItems:
    """Draw confidences 2 to 11 of popular items and active users: both have long tails."""
    rng = np.random.default_rng(seed)
    popular = np.cumsum((np.arange(items) + 10.0) ** -0.8)
    active = np.cumsum(rng.lognormal(size=users))
    asked = int(entries * 1.15)
    rows = np.searchsorted(active, rng.random(asked) * active[-1])
    columns = rng.permutation(items)[np.searchsorted(popular, rng.random(asked) * popular[-1])]
    pairs = np.unique(rows.astype(np.int64) * items + columns)
    pairs = np.sort(rng.permutation(pairs)[:entries])
    indptr = np.searchsorted(pairs, np.arange(users + 1, dtype=np.int64) * items).astype(np.int32)
    confidences = (2 + rng.integers(0, 10, len(pairs))).astype(np.float32)
    return csr_matrix((confidences, (pairs % items).astype(np.int32), indptr), shape=(users, items))


def now() -> Figures:
    """CPU of this process's threads, and wall, in seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([used.ru_utime + used.ru_stime, time.perf_counter()])


class Runs:
    """Iterations of both solvers, one in turn after the other, each on its own factors."""

    def __init__(self, matrix: UserItems, factors: int, seed: int) -> None:
        self.matrix, self.transposed = matrix, csr_matrix(matrix.T)
        rng = np.random.default_rng(seed)
        start = [rng.random((n, factors), dtype=np.float32) * np.float32(0.01) for n in matrix.shape]
        self.rows = {name: [side.copy() for side in start] for name in CLASSES}
        self.solvers = {name: kind(factors=factors).solver for name, kind in CLASSES.items()}

    def iterate(self, name: str, threads: int) -> Figures:
        """Take an iteration; give its CPU and wall."""
        users, items = self.rows[name]
        begun = now()
        self.solvers[name](self.matrix, users, items, REGULARIZATION, num_threads=threads)
        self.solvers[name](self.transposed, items, users, REGULARIZATION, num_threads=threads)
        return now() - begun

    def loss(self, name: str) -> float:
        """Weighted squared error and penalty, over pairs."""
        return float(calculate_loss(self.matrix, *self.rows[name], REGULARIZATION))

    def measure(self, repeats: int, threads: int) -> dict[str, tuple[Figures, float]]:
        """Medians of CPU and wall over repeats, after one more, and the loss at the end."""
        taken: dict[str, list[Figures]] = {name: [] for name in self.solvers}
        for _ in range(repeats + 1):
            for name, figures in taken.items():
                figures.append(self.iterate(name, threads))
        return {name: (np.median(figures[1:], axis=0), self.loss(name)) for name, figures in taken.items()}


def compare(matrix: UserItems, factors: int, repeats: int) -> None:
    """Print a row for each number of threads and solver."""
    for threads in (1, 2):
        found = Runs(matrix, factors, 1).measure(repeats, threads)
        (cpu, wall), loss = found["implicit"]
        for name, ((own_cpu, own_wall), own_loss) in found.items():
            print(
                f"| {factors} | {threads} | {name} | {own_cpu:.2f} | {own_wall:.2f} | {cpu / own_cpu:.2f} "
                f"| {wall / own_wall:.2f} | {own_loss:.8f} | {own_loss / loss - 1:+.1e} |",
                flush=True,
            )


def fit_cmfrec(matrix: UserItems, factors: int, iterations: int) -> None:
    """cmfrec's implicit ALS, by conjugate gradients."""
    from cmfrec import CMF_implicit

    options = {
        "lambda_": REGULARIZATION,
        "niter": iterations,
        "use_cg": True,
        "max_cg_steps": 3,
        "nthreads": 1,
    }
    CMF_implicit(k=factors, finalize_chol=False, use_float=True, verbose=False, **options).fit(matrix.tocoo())


def fit_lenskit(matrix: UserItems, factors: int, iterations: int) -> None:
    """LensKit's implicit ALS."""
    import pandas as pd
    from lenskit.als import ImplicitMFScorer
    from lenskit.data import from_interactions_df

    coo = matrix.tocoo()
    frame = pd.DataFrame({"user_id": coo.row, "item_id": coo.col, "rating": coo.data})
    scorer = ImplicitMFScorer(embedding_size=factors, epochs=iterations, regularization=REGULARIZATION)
    scorer.train(from_interactions_df(frame))


PEERS: dict[str, Callable[[UserItems, int, int], None]] = {"cmfrec": fit_cmfrec, "lenskit": fit_lenskit}


def measure_peer(name: str, matrix: UserItems, factors: int, repeats: int) -> None:
    """Print what an iteration more costs: the difference of a fit of 4 and of 1, over 3."""
    if importlib.util.find_spec(name) is None:
        print(f"{name} is not installed: left out")
        return
    costs = []
    for _ in range(repeats):
        begun, taken = now(), []
        for iterations in (1, 4):
            PEERS[name](matrix, factors, iterations)
            taken.append(now() - begun)
            begun = now()
        costs.append((taken[1] - taken[0]) / 3)
    cpu, wall = median(float(c[0]) for c in costs), median(float(c[1]) for c in costs)
    print(f"{name}, {factors} factors: {cpu:.2f} CPU-seconds an iteration, {wall:.2f} wall", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--entries", type=int, default=7_600_000)
    parser.add_argument("--factors", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    matrix = draw_matrix(options.users, options.items, options.entries, options.seed)
    print(
        f"{matrix.shape[0]:,} users, {matrix.shape[1]:,} items, {matrix.nnz:,} entries; {options.repeats} repeats\n"
    )
    print(
        "| factors | threads | solver | CPU s | wall s | times as fast, CPU | wall | loss | to implicit's |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with one_blas_thread():
        for factors in options.factors:
            compare(matrix, factors, options.repeats)
        for name in PEERS:
            for factors in options.factors:
                measure_peer(name, matrix, factors, options.repeats)


if __name__ == "__main__":
    main()
