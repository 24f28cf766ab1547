"""How long it takes to simulate a log, and in how much memory.

Run from the root of the repository, best with nothing else on the machine::

    uv run python tests/benchmarks/simulation.py [--exposures 10000000] [--runs 3] [--preset bench]

Every run is a process of its own; medians are printed. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from main_job import report


def main() -> None:
    """Measure `recsys simulate`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--exposures", type=int, default=10_000_000)
    parser.add_argument("--preset", default="bench")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    size = ["--preset", options.preset, "--exposures", str(options.exposures)]
    try:
        command = ["simulate", str(scratch / "world"), *size, "--overwrite"]
        report(f"{options.preset}, {options.exposures:,} exposures", command, options.runs)
        written = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
        print(f"  {written / 2**20:,.0f} MiB written")
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
