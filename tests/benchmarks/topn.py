"""Exact top-n for many users: peers and ours on the same factors, in turn, each a process of its own.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/topn.py [--users 200000] [--items 50000] [--factors 64] [--ranked 20000]
        [--n 100] [--runs 3] [--threads 0]

The factors are implicit's, fitted for a few iterations on made-up likes whose items follow Zipf's law and whose
users come in groups of taste. `--ranked` of the users, drawn at random, are ranked by everybody: a user's
work does not depend on how many others there are. What is imported, read and compiled before is not counted.
`same` is the share of ranked items that `Factors.top_n` found too, at that place.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paired import table
from scipy.sparse import csr_matrix, load_npz, save_npz

from recsys.factors import _top_n
from recsys.matrix import one_blas_thread

Items = NDArray[np.int32]
_GROUPS = 50
_WARM_UP = 2_000


class Work:
    """What everybody ranks."""

    def __init__(self, scratch: Path, n: int, threads: int) -> None:
        self.users, self.items = np.load(scratch / "users.npy"), np.load(scratch / "items.npy")
        self.seen: csr_matrix = load_npz(scratch / "seen.npz")
        self.n, self.threads = n, threads or os.cpu_count() or 1

    def first(self, m: int) -> Work:
        """Take the first users only."""
        some = object.__new__(Work)
        some.users, some.items, some.seen = self.users[:m], self.items, self.seen[:m]
        some.n, some.threads = self.n, self.threads
        return some

    def in_blocks(self, size: int, work: Callable[[slice], None]) -> None:
        """Work on blocks of users in threads, BLAS on one each."""
        blocks = (slice(at, min(at + size, len(self.users))) for at in range(0, len(self.users), size))
        with one_blas_thread(), ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, blocks))


def by_implicit(work: Work) -> Items:
    """`recommend` of implicit, a thousand users a call; its threads are its own."""
    from implicit.cpu.als import AlternatingLeastSquares

    with one_blas_thread():
        model = AlternatingLeastSquares(factors=work.items.shape[1], num_threads=work.threads)
    model.user_factors, model.item_factors = work.users, work.items
    found = np.empty((len(work.users), work.n), np.int32)
    # As its users run it: BLAS has the processor's threads in the product, OpenMP in the selection.
    for start in range(0, len(found), 1_000):
        places = np.arange(start, min(start + 1_000, len(found)))
        rows = work.seen[places[0] : places[-1] + 1]
        found[places], _ = model.recommend(places, rows, N=work.n, filter_already_liked_items=True)
    return found


def by_brute_force(work: Work) -> Items:
    """A product, `argpartition` and a sort of what it found, 200 users at a time."""
    found = np.empty((len(work.users), work.n), np.int32)

    def rank(block: slice) -> None:
        scores, rows = work.users[block] @ work.items.T, work.seen[block]
        scores[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices] = -np.inf
        best = np.argpartition(scores, -work.n, axis=1)[:, -work.n :]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found[block] = np.take_along_axis(best, order, axis=1)

    work.in_blocks(200, rank)
    return found


def multiply_only(work: Work) -> None:
    """The products alone, 512 users by 768 items, as ours, into one buffer a block of users: nothing is ranked."""

    def multiply(block: slice) -> None:
        users = work.users[block]
        buffer = np.empty(len(users) * 768, np.float32)
        for at in range(0, len(work.items), 768):
            some = work.items[at : at + 768]
            np.matmul(users, some.T, out=buffer[: len(users) * len(some)].reshape(len(users), len(some)))

    work.in_blocks(512, multiply)


def by_ours(work: Work, prune: bool = True) -> Items:
    """`Factors.top_n`, compiled."""
    found = _top_n.Ranker(work.items, work.n, prune).rank(work.users, work.seen, work.threads)
    return found.items.reshape(-1, work.n)


PEERS: dict[str, Callable[[Work], Items | None]] = {
    "implicit.recommend": by_implicit,
    "brute force, NumPy": by_brute_force,
    "products alone": multiply_only,
    "ours, nothing pruned": lambda work: by_ours(work, prune=False),
    "ours": by_ours,
}


def peak() -> float:
    """Give the most memory this process has held, MiB; not what its parent held, as `ru_maxrss` does."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def run_one(options: argparse.Namespace) -> None:
    """Measure one peer, in a process of its own."""
    _top_n._WORTH_COMPILING = 0
    work = Work(options.scratch, options.n, options.threads)
    PEERS[options.peer](work.first(min(_WARM_UP, len(work.users) // 10)))
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    found = PEERS[options.peer](work)
    measured = [time.perf_counter() - wall, time.process_time() - cpu, peak(), peak() - before]
    if found is not None:
        np.save(options.scratch / f"{options.peer}.npy", found)
    print(json.dumps(measured))


def make_factors(options: argparse.Namespace, scratch: Path) -> None:
    """Draw likes, fit implicit to them and keep the ranked users."""
    from implicit.cpu.als import AlternatingLeastSquares

    likes, rng = draw_likes(options), np.random.default_rng(1)
    with one_blas_thread():
        model = AlternatingLeastSquares(
            factors=options.factors, alpha=10.0, regularization=0.1, iterations=5, random_state=0
        )
        model.fit(likes, show_progress=False)
    warm = np.flatnonzero(np.diff(likes.indptr))
    ranked = np.sort(rng.choice(warm, min(options.ranked, len(warm)), replace=False))
    np.save(scratch / "users.npy", model.user_factors[ranked])
    np.save(scratch / "items.npy", model.item_factors)
    save_npz(scratch / "seen.npz", likes[ranked])


def draw_likes(options: argparse.Namespace) -> csr_matrix:
    """Items by Zipf's law, six in ten from the group of the user; activity is log-normal."""
    rng, n = np.random.default_rng(0), options.likes
    activity = rng.lognormal(0.0, 1.0, options.users)
    users = rng.choice(options.users, n, p=activity / activity.sum())
    popularity = np.arange(1, options.items + 1) ** -0.9
    groups, home = rng.integers(0, _GROUPS, options.items), rng.integers(0, _GROUPS, options.users)
    items = rng.choice(options.items, n, p=popularity / popularity.sum())
    by_taste = rng.random(n) < 0.6
    for group in range(_GROUPS):
        rows, own = np.flatnonzero(by_taste & (home[users] == group)), np.flatnonzero(groups == group)
        items[rows] = rng.choice(own, len(rows), p=popularity[own] / popularity[own].sum())
    names = rng.permutation(options.items)
    likes = csr_matrix((np.ones(n, np.float32), (users, names[items])), (options.users, options.items))
    likes.sum_duplicates()
    return likes


def rows_of_table(measured: dict[str, list[list[float]]], scratch: Path) -> Iterator[list[str]]:
    """Take medians; ratios are of medians, to implicit's and to the products'."""
    medians = {
        name: [statistics.median(one) for one in zip(*runs, strict=True)] for name, runs in measured.items()
    }
    implicit, bare = medians["implicit.recommend"], medians["products alone"]
    ours = np.load(scratch / "ours.npy")
    for name, (wall, cpu, most, added) in medians.items():
        file = scratch / f"{name}.npy"
        same = f"{(np.load(file) == ours).mean():.4%}" if file.exists() else ""
        yield [
            *(name, f"{wall:.2f}", f"{cpu:.2f}", f"{implicit[0] / wall:.1f}", f"{implicit[1] / cpu:.1f}"),
            *(f"{bare[1] / cpu:.0%}", f"{most:.0f}", f"{added:.0f}", same),
        ]


def main() -> None:
    """Measure everybody in turn, several times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in {"users": 200_000, "items": 50_000, "factors": 64, "likes": 10_000_000}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, default in {"ranked": 20_000, "n": 100, "runs": 3, "threads": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        run_one(options)
        return
    measured: dict[str, list[list[float]]] = {name: [] for name in PEERS}
    with tempfile.TemporaryDirectory() as folder:
        make_factors(options, Path(folder))
        for name in [*PEERS] * options.runs:
            command = [sys.executable, *sys.argv, "--peer", name, "--scratch", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            measured[name].append(json.loads(done.stdout.splitlines()[-1]))
        rows = list(rows_of_table(measured, Path(folder)))
    print(
        f"{options.ranked:,} of {options.users:,} users, {options.items:,} items, {options.factors} factors, "
        f"the best {options.n}; medians of {options.runs}\n"
    )
    header = ["", "wall s", "CPU s", "x implicit, wall", "x implicit, CPU", "of the products"]
    print(table([*header, "peak MiB", "of which added", "same"], rows))


if __name__ == "__main__":
    main()
