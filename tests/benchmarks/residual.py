"""How often the residual value of a press is called real, in simulated worlds whose exposures are drawn at random.

Run from the root of the repository::

    uv run python tests/benchmarks/residual.py [--seeds 20] [--worlds null habit feedback large] [--epsilon 1]
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from recsys import World, read_events, simulate
from recsys.audit._residual import residual_press
from recsys.audit._result import ResidualPress
from recsys.config import ModelSettings

WORLDS = ("null", "habit", "feedback", "large")


def main() -> None:
    """Print, by world, rejections at 5 %, the statistics' mean and spread, and the mean effect in percentage points."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--worlds", nargs="+", default=WORLDS)
    parser.add_argument("--epsilon", type=float, default=1.0)
    options = parser.parse_args()
    for name in options.worlds:
        began, found = time.perf_counter(), []
        for seed in range(1, options.seeds + 1):
            events = simulate(World.preset(name, epsilon=options.epsilon, seed=seed)).events
            one = residual_press(
                read_events(events, signals=["long_view"]), "long_view", ModelSettings(), threads=1
            )
            assert isinstance(one, ResidualPress), one
            found.append((one.statistic, one.p_value < 0.05, 100 * one.effect.value, one.presses))
        statistics, rejected, effects, presses = np.array(found).T
        print(
            f"{name}: rejected {rejected.sum():.0f} of {options.seeds}; statistic {statistics.mean():+.2f}, "
            f"standard deviation {statistics.std(ddof=1):.2f}; effect {effects.mean():+.2f} points; "
            f"{presses.mean():,.0f} presses; {(time.perf_counter() - began) / options.seeds:.1f} s a world",
            flush=True,
        )


if __name__ == "__main__":
    main()
