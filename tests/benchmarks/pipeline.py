"""`recsys train` and `recsys predict` against the same work by hand (`by_hand.py`), on one simulated log.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/pipeline.py [--exposures 1000000] [--runs 3] [--scratch FOLDER]

Both read the same parquet and write the top 100 of every user as parquet, with the same factors, iterations, alpha and
regularization. `recsys` fits its head at three cuts and on a fourth factorisation, of what was shown, beside the
like's, the long view's and the dwell's; `--cuts 1` leaves it one cut, as by hand has. Every run is a process of its
own, in turn; medians are printed, ratios are by hand over recsys. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from _measured import RECSYS, Cost, cells, median, print_table, run_measured

BY_HAND = Path(__file__).parent / "by_hand.py"


def simulated(folder: Path, exposures: int, users: int, items: int, days: int = 14) -> Path:
    """Write a log once, and say where it is."""
    log = folder / f"{exposures}-{users}-{items}-{days}"
    if not (log / "events.parquet").exists():
        sizes = {"exposures": exposures, "users": users, "items": items, "days": days}
        told = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
        run_measured([*RECSYS, "simulate", str(log), "--preset", "bench", "--overwrite", *told])
    return log


def settings_for(factors: int, top_n: int, cuts: int) -> dict[str, str]:
    """Say the settings that both share, as recsys reads them from the environment."""
    named = {"MODEL__FACTORS": factors, "OUTPUT__TOP_N": top_n, "MODEL__CUTS": cuts}
    return {f"RECSYS_{name}": str(value) for name, value in named.items()}


def measure_recsys(log: Path, out: Path, settings: dict[str, str]) -> dict[str, Cost]:
    """Train and predict into a new output folder."""
    shutil.rmtree(out, ignore_errors=True)
    place = ["-c", str(log), "-o", str(out)]
    return {command: run_measured([*RECSYS, command, *place], settings) for command in ("train", "predict")}


def measure_by_hand(log: Path, out: Path, factors: int, top_n: int) -> Cost:
    """Do the same by hand."""
    dials = ["--factors", str(factors), "--top-n", str(top_n)]
    files = [str(log / "events.parquet"), str(out / "by_hand.parquet")]
    return run_measured([sys.executable, str(BY_HAND), *files, *dials])


def compare(log: Path, scratch: Path, options: argparse.Namespace) -> None:
    """Run both in turn, and print what they cost."""
    settings = settings_for(options.factors, options.top_n, options.cuts)
    by_hand, ours = [], []
    for _ in range(options.runs):
        by_hand.append(measure_by_hand(log, scratch, options.factors, options.top_n))
        ours.append(measure_recsys(log, scratch / "out", settings))
    hand = median(by_hand)
    parts = {name: median(one[name] for one in ours) for name in ours[0]}
    both = median(sum(one.values(), Cost(0, 0, 0)) for one in ours)
    rows = {"by hand": hand, **{f"recsys {name}": cost for name, cost in parts.items()}}
    rows["recsys, both"] = both
    ratios = (hand.wall / both.wall, hand.cpu / both.cpu, hand.peak / both.peak)
    print(f"{options.exposures:,} exposures, {options.users:,} users, {options.items:,} items, ", end="")
    print(f"{options.factors} factors, top {options.top_n}, {options.cuts} cuts, medians of {options.runs}\n")
    table = [(name, *cells(cost)) for name, cost in rows.items()]
    print_table(
        ("", "wall", "CPU", "peak memory"), [*table, ("by hand / recsys", *(f"{r:.2f}" for r in ratios))]
    )


def main() -> None:
    """Measure both on one log."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exposures", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--top-n", type=int, default=100)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--scratch", type=Path, help="For the log and the outputs; a log there is used again."
    )
    options = parser.parse_args()
    scratch = options.scratch or Path(tempfile.mkdtemp())
    try:
        compare(simulated(scratch, options.exposures, options.users, options.items), scratch, options)
    finally:
        if options.scratch is None:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
