"""Bias of the whole procedure against the true probabilities of simulated worlds.

Run from the root of the repository::

    uv run python tests/benchmarks/bias.py [--worlds 8]
"""

from __future__ import annotations

import argparse

import numpy as np

from recsys import Settings, World, evaluate, read_events, simulate
from recsys.config import ModelSettings

WORLDS = {
    "A": ({"exposures": 50_000, "users": 2_000, "items": 500}, ModelSettings(factors=16, iterations=8)),
    "B": ({"exposures": 60_000, "users": 800, "items": 200}, ModelSettings(factors=8, iterations=4)),
}


def main() -> None:
    """Print mean normalised entropy and mean bias, with its standard error, for both kinds of world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=8)
    options = parser.parse_args()
    for name, (size, model) in WORLDS.items():
        found = []
        for seed in range(1, options.worlds + 1):
            made = simulate(World.preset("small", **size, seed=seed))
            scored = evaluate(read_events(made.events, signals=["long_view"]), Settings(model=model))
            truth = made.truth_exposures["p_like_before"].to_numpy()[-len(scored.losses) :]
            bias = scored.losses["will_like"].to_numpy().sum() / truth.sum() - 1
            found.append((scored.metrics["normalized_entropy"].value, bias))
        entropy, bias = np.mean(found, axis=0)
        error = np.std(found, axis=0, ddof=1)[1] / np.sqrt(len(found))
        print(f"{name}: NE {entropy:.4f}, bias against truth {bias:+.3f} (standard error {error:.3f})")


if __name__ == "__main__":
    main()
