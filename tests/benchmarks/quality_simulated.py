"""Ours against the true probabilities of a simulated log: what is served, and what is captured.

Run from the root of the repository (under ten minutes, below 8 GiB)::

    uv run python tests/benchmarks/quality_simulated.py [--exposures 2000000] [--served 20000] [--factors 32]

The world is the preset `small`, one user to 50 exposures and one item to 200. Printed: mean `will_like` over
mean true probability, of served top-20 lists and of logged test exposures; and the share of the explainable
entropy that is captured, by how many exposures a user has before the test window::

    captured = (loss of the base rate - loss of the model) / (loss of the base rate - loss of the truth)

1 is the true probability, 0 the base rate. Intervals are 95 %, by user; differences are of the same draws of
users. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl
from paired import Figure, Floats, UserDraws, cell, table

from recsys import Evaluation, EventLog, Settings, WillLikeModel, World, evaluate, read_events, simulate
from recsys.config import ModelSettings
from recsys.inference import ratio_of_sums
from recsys.metrics import binary_entropy, log_losses
from recsys.schema import INSTANT, ITEM, LIKED, TIME, USER
from recsys.simulation import Simulation
from recsys.split import known_before

TRUE, HISTORY, OURS, BASE = "p_like_before", "history", "log_loss", "log_loss_base_rate"
#: Bins of exposures before the cut: from one edge to before the next.
EDGES = (0, 5, 10, 20, 50, 100, 200, 2**31)
_LONGEST_LIST = 20


@dataclass
class Clock:
    """Says how long each step took."""

    began: float = field(default_factory=time.perf_counter)

    def lap(self, step: str) -> None:
        """Print the seconds since the last lap."""
        now = time.perf_counter()
        print(f"  {step}: {now - self.began:.0f} s", flush=True)
        self.began = now


def main() -> None:
    """Simulate, fit, print the tables."""
    options, clock = read_options(), Clock()
    made = simulate(World.preset("small", exposures=options.exposures, seed=options.seed))
    clock.lap("simulated")
    log = read_events(made.events, signals=["long_view"])
    settings = Settings(model=ModelSettings(factors=options.factors, seed=options.seed))
    tested = add_truth(evaluate(log, settings), made, log)
    clock.lap("fitted and evaluated, with baselines")
    served = serve(WillLikeModel.fit(log, settings.model), made, log, options.served)
    clock.lap("fitted to the end of the log and served")
    print(describe(made, tested, settings))
    print("\n" + tell_served(served, tested, options.draws))
    print("\n" + tell_captured(tested, options.draws) + "\n")
    clock.lap("drawn again")
    print(f"  peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exposures", type=int, default=2_000_000)
    parser.add_argument("--served", type=int, default=20_000, help="users who are served a list")
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def add_truth(found: Evaluation, made: Simulation, log: EventLog) -> pl.DataFrame:
    """Put the true probability and the history of its user beside each test exposure."""
    keys = made.events.select(USER, ITEM, pl.col(TIME).cast(INSTANT))
    truth = keys.with_columns(made.truth_exposures[TRUE].cast(pl.Float64))
    truth = truth.unique([USER, ITEM, TIME], keep="first", maintain_order=True)
    known = known_before(log.shown, found.window.cut)
    rows = found.losses.join(truth, on=[USER, ITEM, TIME], how="left", maintain_order="left")
    return _add_history(rows, known).with_columns(
        log_loss_truth=pl.Series(log_losses(rows[LIKED], rows[TRUE].clip(1e-9, 1 - 1e-9)))
    )


def serve(model: WillLikeModel, made: Simulation, log: EventLog, users: int) -> pl.DataFrame:
    """Recommend to some users, and ask the world about those very pairs at that very time."""
    everyone = log.exposures[USER].unique().sort()
    asked = everyone.sample(min(users, len(everyone)), seed=0).sort()
    lists = model.recommend(asked, n=_LONGEST_LIST)
    truth = made.truth.probabilities(lists.select(USER, ITEM))
    return _add_history(lists.with_columns(truth[TRUE]), log.shown)


def _add_history(rows: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    lengths = known.group_by(USER).agg(pl.len().alias(HISTORY))
    return rows.join(lengths, on=USER, how="left", maintain_order="left").with_columns(
        pl.col(HISTORY).fill_null(0)
    )


def describe(made: Simulation, tested: pl.DataFrame, settings: Settings) -> str:
    """Say what was simulated and how much of it can be explained."""
    world, entropy = made.truth.world, float(binary_entropy(tested[LIKED].mean()))
    truth, ours = (tested[name].mean() / entropy for name in ("log_loss_truth", OURS))
    return (
        f"small: {world.exposures:,} exposures, {world.users:,} users, {world.items:,} items, seed {world.seed}; "
        f"test {len(tested):,} exposures, {tested[LIKED].sum():,} likes\n"
        f"NE of the true probabilities {truth:.3f}, ours {ours:.3f}; {settings.model!r}"
    )


def tell_served(served: pl.DataFrame, tested: pl.DataFrame, draws: int) -> str:
    """Hold mean `will_like` against the mean truth: all lists, their first places, by history, test rows."""
    groups = {"served top 20": served, "served first place": served.filter(pl.col("rank") == 1)}
    groups |= {f"served top 20, {bin_name} exposures": rows for bin_name, rows in _by_history(served)}
    groups["logged test exposures"] = tested
    rows = []
    for name, group in groups.items():
        drawn = UserDraws.of(group[USER], draws)
        forecast, truth = (group[column].cast(pl.Float64).to_numpy() for column in ("will_like", TRUE))
        ratio = drawn.figure(ratio_of_sums, drawn.sums(group[USER], forecast, truth))
        means = f"{forecast.mean():.4f}", f"{truth.mean():.4f}"
        rows.append([name, f"{len(group):,}", *means, cell(ratio)])
    return table(["", "pairs", "mean will_like", "mean truth", "ratio"], rows)


def tell_captured(tested: pl.DataFrame, draws: int) -> str:
    """Write the captured share by history: ours, then how much more it is than each baseline's."""
    drawn = UserDraws.of(tested[USER], draws)
    bins = [("all", tested), *_by_history(tested)]
    shares = {name: captured_shares(drawn, rows) for name, rows in bins}
    baselines = [model for model in shares["all"] if model != OURS]
    titles = [model.removeprefix("log_loss_") for model in baselines]
    sizes = {name: [f"{rows[USER].n_unique():,}", f"{len(rows):,}"] for name, rows in bins}
    shown = [[name, *sizes[name], *(cell(share) for share in of.values())] for name, of in shares.items()]
    gains = [
        [name, *(cell(of[OURS] - of[model], signed=True) for model in baselines)]
        for name, of in shares.items()
    ]
    return "\n".join(
        [
            table(["exposures before the cut", "users", "rows", "recsys", *titles], shown),
            "\nOurs less each baseline's, paired\n",
            table(["exposures before the cut", *titles], gains),
            "\nFrom one bin to the next, ours: " + _growth(shares),
        ]
    )


def captured_shares(drawn: UserDraws, rows: pl.DataFrame) -> dict[str, Figure]:
    """Compute the captured share of every model in the table of losses."""
    models = [name for name in rows.columns if name.startswith(OURS) and name not in (BASE, "log_loss_truth")]
    columns = [rows[name].to_numpy() for name in (BASE, "log_loss_truth", *models)]
    sums = drawn.sums(rows[USER], *columns)
    return {model: drawn.figure(_captured, sums[:, [0, 1, 2 + place]]) for place, model in enumerate(models)}


def _captured(totals: Floats) -> Floats:
    base, truth, model = totals[..., 0], totals[..., 1], totals[..., 2]
    return np.asarray((base - model) / (base - truth))


def _growth(shares: dict[str, dict[str, Figure]]) -> str:
    """Write by how much our share grows; the bins hold different users, drawn alike."""
    ours = [of[OURS] for name, of in shares.items() if name != "all"]
    steps = [cell(after - before, signed=True) for before, after in pairwise(ours)]
    return ", ".join(steps) + f"; first to last {cell(ours[-1] - ours[0], signed=True)}"


def _by_history(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    found = []
    for low, high in pairwise(EDGES):
        name = f"{low} to {high - 1}" if high != EDGES[-1] else f"{low} and more"
        found.append((name, rows.filter(pl.col(HISTORY).is_between(low, high, closed="left"))))
    return [(name, group) for name, group in found if len(group)]


if __name__ == "__main__":
    main()
