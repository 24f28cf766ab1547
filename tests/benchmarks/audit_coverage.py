"""How often the audit's verdict and intervals are right, in worlds whose truth is known.

    uv run python tests/benchmarks/audit_coverage.py [--at-random --trials N --processes N --into FILE --worlds A,B]

A trial is an audit in a lean setting: 50,000 exposures, logistic head, two seeds, four draws of each placebo, 8
factors.
The truth is what the same trained models and draws would lose on average under the world's own probabilities: over
the scored exposures (`rows`). An interval is of exposures like the logged ones, and a feed does not show all pairs
alike; with --at-random it does, to users who come alike often: then the logged exposures are a sample of all pairs of
users and items, and an interval that is right covers the truth over all of them too (`pairs`).

With --into, trials are kept a line each and a later call goes on. Worlds of one seed share their draws.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import binom

from recsys.audit import PIECES, PRIMARY_PLACEBO, Lift
from recsys.audit._dwell import follow_dwell
from recsys.audit._lift import CHAIN, measure_lift, score_trial
from recsys.audit._plan import make_plan
from recsys.audit._rows import gather_rows
from recsys.audit._trial import REAL, NoShelf, draw_all, run_trial, set_bench
from recsys.config import AuditSettings, ModelSettings, Settings
from recsys.events import read_events
from recsys.matrix import one_blas_thread
from recsys.metrics import binary_entropy
from recsys.schema import ITEM, LIKED, TIME, USER
from recsys.simulation import Simulation, World, simulate
from recsys.split import split_by_time

WORLDS = ("null", "habit", "feedback", "crowd", "small", "large")
AT_RANDOM = {"epsilon": 1.0, "activity_spread": 0.0}
OUTCOMES = {"long_view": "p_long_view_before", LIKED: "p_like_before"}
LEAN = Settings(
    audit=AuditSettings(seeds=2, placebos=4, heads=("logistic",)),
    model=ModelSettings(factors=8, iterations=8),
)


def try_once(world: str, seed: int, at_random: bool = False, settings: Settings = LEAN) -> dict[str, Any]:
    """Audit one world: estimates and truths of the lift and its pieces, for both outcomes."""
    made = simulate(World.preset(world, seed=seed, **(AT_RANDOM if at_random else {})))
    log = read_events(made.events, signals=["long_view"], outcomes=["long_view"])
    rows = gather_rows(log, split_by_time(settings.windows, log.as_of))
    plan = make_plan(rows, settings)
    pairs = all_pairs(made, rows.score.schema) if at_random else None
    with one_blas_thread():
        given = follow_dwell(rows, plan.signals, plan.model.seed)
        bench = set_bench(rows, plan, given, also=pairs, threads=1, shelf=NoShelf(), ladder=False)
        trial = run_trial(bench, draw_all(bench))
    scored = score_trial(rows, plan, trial)
    found: dict[str, Any] = {"world": world, "seed": seed, "moved": [one.moved for one in trial.checks]}
    truths = {"rows": (slice(0, len(rows.score)), truth_of(made, rows.score))}
    if pairs is not None:
        truths["pairs"] = (slice(len(rows.score), None), made.truth.probabilities(pairs))
    for outcome, column in OUTCOMES.items():
        lift = measure_lift(scored[f"{outcome}/logistic"], int(rows.liked.sum()))
        forecasts = {kind: trial.forecasts[f"{outcome}/logistic/{kind}"] for kind in CHAIN}
        losses = {
            name: true_losses(forecasts, where, truth[column].to_numpy())
            for name, (where, truth) in truths.items()
        }
        found[outcome] = beside_truth(lift, losses)
    return found


def all_pairs(made: Simulation, schema: pl.Schema) -> pl.DataFrame:
    """Pair every user with every item, in the types of the log."""
    users, items = (
        table.select(pl.col(name).cast(schema[name]))
        for table, name in ((made.truth.users, USER), (made.truth.items, ITEM))
    )
    return users.join(items, how="cross")


def truth_of(made: Simulation, rows: pl.DataFrame) -> pl.DataFrame:
    """Find the true probabilities of exposures, row by row."""
    by = [USER, ITEM, TIME]
    told = pl.concat([made.events.select(by), made.truth_exposures], how="horizontal")
    return rows.select(by).join(told, on=by, how="left", maintain_order="left")


def beside_truth(lift: Lift, losses: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Set the lift and its pieces beside what they estimate."""
    estimates = {"lift": lift.value, **lift.pieces}
    steps = {"lift": (PRIMARY_PLACEBO, REAL), **dict(zip(PIECES, pairwise(CHAIN), strict=True))}
    return {
        name: estimates[name].as_dict()
        | {f"true_{where}": kinds[first] - kinds[second] for where, kinds in losses.items()}
        for name, (first, second) in steps.items()
    }


def true_losses(
    forecasts: dict[str, NDArray[np.float64]], where: slice, truth: NDArray[np.float64]
) -> dict[str, float]:
    """Compute the expected loss of each kind of arm, in shares of the entropy of the true mean."""
    entropy = float(binary_entropy(truth.mean()))

    def lose(p: NDArray[np.float64]) -> float:
        return -float(np.mean(truth * np.log(p) + (1 - truth) * np.log1p(-p)))

    return {
        kind: float(np.mean([lose(p) for p in found[:, where]])) / entropy
        for kind, found in forecasts.items()
    }


def covers(figure: dict[str, float], where: str) -> bool:
    """Say whether a two-sided 95 % interval covers its truth."""
    return figure["low"] <= figure[f"true_{where}"] <= figure["high"]


def summarise(trials: list[dict[str, Any]]) -> pl.DataFrame:
    """Count, a world a row; `most` and `least`: 99 % binomial bounds of a test and of an interval that are right."""
    by_world = {world: [one for one in trials if one["world"] == world] for world in WORLDS}
    return pl.DataFrame([count_world(world, own) for world, own in by_world.items() if own])


def count_world(world: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Count how often figures are above 0 and cover their truth, and average them, in NE points."""
    n, views, likes = len(trials), [one["long_view"] for one in trials], [one[LIKED] for one in trials]

    def above(found: list[dict[str, Any]], piece: str) -> int:
        return sum(one[piece]["lower"] > 0 for one in found)

    def covered(found: list[dict[str, Any]], piece: str, where: str) -> int | None:
        known = [one[piece] for one in found if f"true_{where}" in one[piece]]
        return sum(covers(figure, where) for figure in known) if known else None

    def mean(found: list[dict[str, Any]], piece: str, figure: str = "value") -> float:
        return 100 * float(np.mean([one[piece][figure] for one in found]))

    return {
        "world": world,
        "trials": n,
        "adds": above(views, "lift"),
        "most": int(binom.ppf(0.995, n, 0.05)),
        "lift_rows": covered(views, "lift", "rows"),
        "lift_pairs": covered(views, "lift", "pairs"),
        "taste_rows": covered(views, "taste", "rows"),
        "taste_pairs": covered(views, "taste", "pairs"),
        "least": int(binom.ppf(0.005, n, 0.95)),
        "taste_adds": above(views, "taste"),
        "mean_lift": mean(views, "lift"),
        "true_lift": mean(views, "lift", "true_rows"),
        "likes_naive": mean(likes, "lift") + mean(likes, "habit"),
        "likes_habit": mean(likes, "habit"),
        "likes_crowd_above_0": above(likes, "crowd"),
        "likes_taste_covers": covered(likes, "taste", "rows"),
        "likes_taste_adds": above(likes, "taste"),
    }


def kept_in(path: Path | None) -> list[dict[str, Any]]:
    """Read the trials of earlier calls."""
    if path is None or not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def run(wanted: list[tuple[str, int, bool]], processes: int) -> Iterator[dict[str, Any]]:
    """Run trials in processes of their own."""
    os.environ["POLARS_MAX_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for done in as_completed([pool.submit(try_once, *one) for one in wanted]):
            yield done.result()


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-random", action="store_true")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--into", type=Path)
    parser.add_argument("--worlds", default=",".join(WORLDS))
    asked = parser.parse_args()
    trials = kept_in(asked.into)
    done = {(one["world"], one["seed"]) for one in trials}
    # Seed by seed over all worlds, so that what is there so far is balanced.
    wanted = [(world, seed) for seed in range(asked.trials) for world in asked.worlds.split(",")]
    missing = [(*one, asked.at_random) for one in wanted if one not in done]
    for one in run(missing, asked.processes):
        trials.append(one)
        if asked.into:
            with asked.into.open("a") as file:
                file.write(json.dumps(one) + "\n")
    with pl.Config(tbl_cols=-1, tbl_width_chars=250, float_precision=3):
        print(summarise(trials))


if __name__ == "__main__":
    main()
