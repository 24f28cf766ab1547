"""The audit as a user runs it: seconds, peak memory, and where they go.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/audit.py [--runs 3] [--shared ../shared]

Every run is a process of its own, of the sample and of the shared log where it is; medians are printed, and the
seconds of the last run by what its log says it did.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path

from main_job import RECSYS, ROOT, SHARED, report


def show_steps(arguments: list[str]) -> None:
    """Print what a run's log says it did, and for how long."""
    done = subprocess.run(
        [*RECSYS, *arguments, "--log-format", "json"], capture_output=True, text=True, check=True
    )
    told = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    times = [datetime.fromisoformat(one["time"]) for one in told]
    for event, began, ended in zip(told, times, [*times[1:], times[-1]], strict=True):
        print(f"  {(ended - began).total_seconds():6.1f} s  {event.get('message', event)}")


def main() -> None:
    """Measure the audit of both logs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=SHARED)
    options = parser.parse_args()
    log = options.shared / "data/kuairand_pure/events.parquet"
    audits = {"sample": ["-c", str(ROOT / "data/sample")]}
    if log.exists():
        audits["kuairand-pure"] = ["-c", str(ROOT / "data/cards/kuairand-pure"), "--events", str(log)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, card in audits.items():
            arguments = ["audit", *card, "-o", f"{scratch}/{name}"]
            report(f"audit of {name}", arguments, options.runs)
            show_steps(arguments)


if __name__ == "__main__":
    main()
