"""What `recsys train` and `recsys predict` cost on 1, 10 and 100 million exposures, and how that grows.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/scale.py [--exposures 1000000 10000000] [--runs 1] [--scratch FOLDER]

Users and items stay the same, so that what grows is the log: with them everybody's best of everything would grow as
their product; over sixty days, since in fourteen the busiest could not watch their share of a hundred million. A
simulated log takes 19 bytes an exposure, its truth as much again. The third size is 100000000.
Every run is a process of its own; medians are printed, growth is beside the size before. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from _measured import Cost, cells, median, print_table
from pipeline import measure_recsys, settings_for, simulated


def measure(size: int, scratch: Path, options: argparse.Namespace) -> dict[str, Cost]:
    """Measure both commands on one size."""
    log = simulated(scratch, size, options.users, options.items, options.days)
    settings = settings_for(options.factors, options.top_n, options.cuts)
    runs = [measure_recsys(log, scratch / "out", settings) for _ in range(options.runs)]
    commands = {name: median(one[name] for one in runs) for name in runs[0]}
    return {**commands, "both": median(sum(one.values(), Cost(0, 0, 0)) for one in runs)}


def rows_of(size: int, costs: dict[str, Cost], before: dict[str, Cost] | None) -> list[tuple[str, ...]]:
    """Write one size's rows of the table."""
    rows = []
    for name, cost in costs.items():
        grown = ("", "")
        if before:
            grown = (f"{cost.wall / before[name].wall:.1f}", f"{cost.peak / before[name].peak:.1f}")
        rows.append((f"{size:,}", name, *cells(cost), *grown))
    return rows


def main() -> None:
    """Measure every size, the smallest first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exposures", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--top-n", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--scratch", type=Path, help="For logs and outputs; a log there is used again.")
    options = parser.parse_args()
    scratch = options.scratch or Path(tempfile.mkdtemp())
    rows, before = [], None
    try:
        for size in sorted(options.exposures):
            costs = measure(size, scratch, options)
            rows += rows_of(size, costs, before)
            before = costs
    finally:
        if options.scratch is None:
            shutil.rmtree(scratch)
    print_table(("exposures", "command", "wall", "CPU", "peak memory", "wall grown", "memory grown"), rows)


if __name__ == "__main__":
    main()
