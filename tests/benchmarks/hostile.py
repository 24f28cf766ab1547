"""Thousands of hostile logs through `recsys check`: the right rows, the right exit status, one line; or exit status 1.

Run from the root of the repository::

    uv run python tests/benchmarks/hostile.py [--inputs 5000] [--jobs 2] [--seed 0] [--keep DIR]

Logs are drawn from seeds: CSV with hostile values or broken bytes, parquet with flipped bits or cut short, NDJSON,
wrong units, columns named twice, parts of another schema, strings of 10 MB, garbage. What is accepted is held against
a plain reading of what was written (`tests/hostile_logs.py`). Each job is a process of its own: one that dies is a
defect.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import hostile_logs

_PART = 50
_MEMORY = 8 * 2**30


def attack_part(keep: Path | None, seeds: range) -> list[tuple[int, str, list[str]]]:
    """Attack with some seeds."""
    # A damaged length must not take the machine with it.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    return [(seed, *hostile_logs.attack(seed, keep=keep)) for seed in seeds]


def main() -> int:
    """Count what went wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave the logs that went wrong here")
    asked = parser.parse_args()
    last, began = asked.seed + asked.inputs, time.monotonic()
    parts = [range(first, min(first + _PART, last)) for first in range(asked.seed, last, _PART)]
    drawn: Counter[str] = Counter()
    wrong = 0
    with ProcessPoolExecutor(asked.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for part in pool.map(partial(attack_part, asked.keep), parts):
                for seed, name, said in part:
                    drawn[name] += 1
                    wrong += bool(said)
                    for one in said:
                        print(f"WRONG seed {seed}, {name}: {one}", flush=True)
        except BrokenProcessPool as error:
            print(f"WRONG a process died: {error}")
            wrong += 1
    for name, count in sorted(drawn.items()):
        print(f"{count:5,}  {name}")
    print(f"{drawn.total() - wrong:,} of {drawn.total():,} as they must be, {time.monotonic() - began:.0f} s")
    return int(wrong > 0 or drawn.total() < asked.inputs)


if __name__ == "__main__":
    sys.exit(main())
