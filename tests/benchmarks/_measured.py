"""What a command costs: wall, CPU and peak memory of a process of its own, and tables of medians."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

RECSYS = (sys.executable, "-m", "recsys_cli")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of all processors, and the most memory held at once, in MiB."""

    wall: float
    cpu: float
    peak: float

    def __add__(self, other: Cost) -> Cost:
        """Run one after the other."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.peak, other.peak))


def run_measured(command: Sequence[str], environment: dict[str, str] | None = None) -> Cost:
    """Run a command to its end; what it said is shown only if it fails."""
    # This process must stay small: its peak at the fork counts as the child's.
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, env={**os.environ, **(environment or {})}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read().decode()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: Iterable[Cost]) -> Cost:
    """Take the median of each figure."""
    columns = zip(*((cost.wall, cost.cpu, cost.peak) for cost in costs), strict=True)
    return Cost(*(statistics.median(column) for column in columns))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def cells(cost: Cost) -> tuple[str, str, str]:
    """Write wall, CPU and memory for a table."""
    return f"{cost.wall:.1f} s", f"{cost.cpu:.1f} s", f"{cost.peak:,.0f} MiB"
