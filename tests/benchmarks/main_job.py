"""The main job as a user runs it: seconds, peak memory, CPU of `--help`, and the figures of the README.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/main_job.py [--runs 3] [--shared ../shared]

Every run is a process of its own; medians are printed. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path

from _measured import RECSYS, median, run_measured

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("RECSYS_SHARED", ROOT / "../shared"))
SHOWN = ("normalized_entropy", "auc", "gauc", "bias", "ndcg@10", "recall@20", "normalized_entropy_gain")


def report(name: str, arguments: list[str], runs: int) -> None:
    """Print the medians of several runs."""
    cost = median(run_measured([*RECSYS, *arguments]) for _ in range(runs))
    print(
        f"{name}: {cost.wall:.2f} s wall, {cost.cpu:.2f} s CPU, peak {cost.peak:.0f} MiB (medians of {runs})"
    )


def figures(out: Path) -> None:
    """Print what the evaluation found."""
    found = json.loads((out / "evaluation/evaluation.json").read_text())
    for model, metrics in {"recsys": found["metrics"], **found["baselines"]}.items():
        cells = []
        for name in (
            "normalized_entropy",
            "auc",
            "gauc",
            "bias",
            "ndcg@10",
            "recall@20",
            "normalized_entropy_gain",
        ):
            value = metrics.get(name, {}).get("value")
            if value is not None:
                cells.append(
                    f"{name} {value:.4f} ({metrics[name]['low']:.4f} to {metrics[name]['high']:.4f})"
                )
        print(f"  {model}: " + ", ".join(cells))
    print("  calibration: " + json.dumps(found["metrics"]["calibration"]))


def main() -> None:
    """Measure the three commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=SHARED)
    options = parser.parse_args()
    report("recsys --help", ["--help"], 5 * options.runs)
    scratch = Path(tempfile.mkdtemp())
    try:
        report(
            "sample", ["run", "-c", str(ROOT / "data/sample"), "-o", str(scratch / "sample")], options.runs
        )
        figures(scratch / "sample")
        log = options.shared / "data/kuairand_pure/events.parquet"
        card = ["-c", str(ROOT / "data/cards/kuairand-pure"), "--events", str(log)]
        if log.exists():
            report("kuairand-pure", ["run", *card, "-o", str(scratch / "kuairand")], options.runs)
            figures(scratch / "kuairand")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
