"""Both engines on the same simulated logs: seconds, CPU, memory and cost of `recsys run`, a million exposures.

    uv run --extra spark python tests/benchmarks/spark.py [--millions 1 5 20] [--factors 32] [--price 0.04]

Best with nothing else on the machine. A run is a process of its own, with Java and its workers; their CPU is summed,
and their memory (each page counted once, as PSS) is looked at twice a second. Linux only; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from _measured import RECSYS, Cost, cells, print_table

ENGINES = ("local", "spark")
HEAD = ("exposures", "engine", "wall", "CPU", "peak memory", "CPU a million", "cost a million", "NE", "GAUC")
_TICK = os.sysconf("SC_CLK_TCK")
_PAUSE = 0.5


class Tree:
    """What the processes of a session have used so far."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.cpu: dict[str, float] = {}
        self.peak = 0.0

    def look(self) -> None:
        """Look at every process of the session; one that ends keeps what it had used when last seen."""
        held = 0.0
        for folder in Path("/proc").iterdir():
            # A process may end at any moment.
            with suppress(OSError, ValueError):
                told = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                if folder.name.isdigit() and int(told[3]) == self.session:
                    self.cpu[folder.name] = (int(told[11]) + int(told[12])) / _TICK
                    held += memory_of(folder)
        self.peak = max(self.peak, held)


def memory_of(process: Path) -> float:
    """Proportional set size, in MiB."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def run_tree(arguments: list[str], environment: dict[str, str]) -> Cost:
    """Run recsys to its end and measure it with all that it started."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*RECSYS, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        tree = Tree(process.pid)
        while process.poll() is None:
            tree.look()
            time.sleep(_PAUSE)
        wall = time.perf_counter() - began
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(arguments)} failed:\n{said.read().decode()}")
    return Cost(wall, sum(tree.cpu.values()), tree.peak)


def simulate(folder: Path, exposures: int) -> Path:
    """Write a log of 50 exposures a user."""
    sizes = ["--exposures", str(exposures), "--users", str(exposures // 50), "--items", str(exposures // 200)]
    subprocess.run([*RECSYS, "simulate", str(folder), *sizes, "--seed", "0", "-q"], check=True)
    return folder


def toml_table(parts: list[str]) -> str:
    """Write name=value pairs as the environment takes a table."""
    named = (part.split("=", 1) for part in parts)
    return "{" + ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in named) + "}"


def measure(world: Path, exposures: int, engine: str, options: argparse.Namespace) -> list[str]:
    """Run the main job with one engine: a row of the table."""
    out = world / f"out-{engine}"
    environment = {
        "RECSYS_MODEL__ENGINE": engine,
        "RECSYS_MODEL__FACTORS": str(options.factors),
        "RECSYS_MODEL__ITERATIONS": str(options.iterations),
        "RECSYS_SPARK__OPTIONS": toml_table(options.spark),
    }
    cost = run_tree(["run", "-c", str(world), "-o", str(out), "-q"], environment)
    found = json.loads((out / "evaluation/evaluation.json").read_text())["metrics"]
    a_million = cost.cpu / exposures * 1e6
    quality = [f"{found[name]['value']:.4f}" for name in ("normalized_entropy", "gauc")]
    price = a_million / 3600 * options.price
    return [f"{exposures:,}", engine, *cells(cost), f"{a_million:.0f} s", f"{price:.5f}", *quality]


def main() -> None:
    """Measure each size with each engine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--price", type=float, default=0.04, help="of an hour of a core")
    parser.add_argument("--spark", nargs="*", default=["spark.driver.memory=8g"], help="options, name=value")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for millions in options.millions:
            exposures = round(millions * 1e6)
            world = simulate(Path(scratch) / f"{exposures}", exposures)
            rows += [measure(world, exposures, engine, options) for engine in options.engines]
        print_table(HEAD, rows)


if __name__ == "__main__":
    main()
