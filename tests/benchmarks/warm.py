"""A warm daily retrain against a cold one: CPU seconds of the factorisations, their loss, and what it does to NE.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/warm.py [--exposures 10000000] [--preset bench] [--nights 3]

A simulated log grows by a hundredth of its exposures a night. Every night a model is trained cold, and one from the
night before's; both are scored on the next hundredth. Their heads are fitted cold, and are the same.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from paired import table

from recsys.config import ModelSettings, WindowsSettings
from recsys.engines import LocalEngine
from recsys.events import EventLog, read_events
from recsys.features import Snapshots
from recsys.inference import paired_difference
from recsys.matrix import distinct_codes
from recsys.metrics import binary_entropy, log_losses
from recsys.model import WillLikeModel, fit_model
from recsys.schema import LIKED, TIME, USER
from recsys.simulation import World, simulate
from recsys.split import known_before, slide_to_end, split_by_time


class Clock:
    """CPU seconds that the factorisations take."""

    def __init__(self) -> None:
        self.seconds = 0.0
        fit = LocalEngine.fit

        def timed(*given: Any, **named: Any) -> Any:
            began = time.process_time()
            found = fit(*given, **named)
            self.seconds += time.process_time() - began
            return found

        LocalEngine.fit = timed  # type: ignore[method-assign]

    def read(self) -> float:
        """Give the seconds since it was read last."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def compare(cold: WillLikeModel, warm: WillLikeModel, rows: pl.DataFrame) -> list[str]:
    """Score both on exposures: NE of each, and by how much the warm one's is higher, paired by user."""
    liked = rows[LIKED].to_numpy()
    entropy = binary_entropy(np.array(liked.mean()))
    losses = [log_losses(liked, one.probabilities(one.snapshot.place(rows))) for one in (cold, warm)]
    more = paired_difference(losses[1], losses[0], distinct_codes(rows[USER]))
    low, value, high = (end / entropy for end in (more.low, more.value, more.high))
    own = [f"{one.mean() / entropy:.4f}" for one in losses]
    return [f"{len(rows):,}", *own, f"{value:+.5f} ({low:+.5f} to {high:+.5f})"]


def retrain(
    clock: Clock, log: EventLog, night: datetime, settings: ModelSettings, parent: WillLikeModel | None
) -> tuple[WillLikeModel, WillLikeModel, float, float]:
    """Train cold and warm; give the CPU seconds of what differs, the factorisations that are published."""
    snapshots, windows = Snapshots(log, settings), WindowsSettings()
    window = slide_to_end(split_by_time(windows, night), windows.gap)
    head = fit_model(snapshots, window, window.cut)  # what both need
    clock.read()
    served = snapshots.at(night, head.snapshot.outcomes[1:])
    cold_seconds, cold = clock.read(), dataclasses.replace(head, snapshot=served)
    if parent is None:
        return cold, cold, cold_seconds, cold_seconds
    served = snapshots.at(night, head.snapshot.outcomes[1:], parent.snapshot)
    return cold, dataclasses.replace(head, snapshot=served), cold_seconds, clock.read()


def main() -> None:
    """Measure some nights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exposures", type=int, default=10_000_000)
    parser.add_argument("--preset", default="bench")
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--cuts", type=int, default=ModelSettings().cuts, help="That the heads learn from.")
    parser.add_argument("--tolerance", type=float, default=ModelSettings().warm_tolerance)
    options = parser.parse_args()
    log = read_events(simulate(World.preset(options.preset, exposures=options.exposures)).events)
    settings = ModelSettings(warm_start=True, warm_tolerance=options.tolerance, cuts=options.cuts)
    times = log.exposures[TIME].sort()
    shares = [1 - 0.01 * back for back in range(options.nights + 1, 0, -1)]
    nights = [times[int(share * len(times))] for share in shares]
    clock, parent, rows = Clock(), None, []
    for night, after in zip(nights, [*nights[1:], log.as_of], strict=True):
        cold, warm, cold_seconds, warm_seconds = retrain(clock, log, night, settings, parent)
        test = known_before(log.exposures, after, log.settle).filter(pl.col(TIME) >= night)
        if parent is not None:
            cost = [f"{cold_seconds:.1f}", f"{warm_seconds:.1f}", f"{warm_seconds / cold_seconds:.2f}"]
            rows.append([f"{night:%d %B %H:%M}", *cost, *compare(cold, warm, test)])
        parent = warm
    costs = ["cold, CPU s", "warm, CPU s", "ratio"]
    print(table(["night", *costs, "scored", "NE cold", "NE warm", "warm above cold (95 %)"], rows))


if __name__ == "__main__":
    main()
