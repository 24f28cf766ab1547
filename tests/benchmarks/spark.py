"""Both engines on the same logs: what `recsys run` costs with each, and how far their answers agree.

    uv run --extra spark python tests/benchmarks/spark.py [--millions 1 5 20] [--factors 32] [--price 0.04]
    uv run --extra spark python tests/benchmarks/spark.py --log CONFIG --events EVENTS

Logs are simulated, or one of your own. After the table: whether both refused the same rows and served the same users,
and the share of the local top-n that Spark served too.

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
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
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


@dataclass(frozen=True)
class Log:
    """What `-c` and `--events` take, and the settings that the environment adds."""

    arguments: list[str]
    settings: dict[str, str]


def measure(log: Log, engine: str, out: Path, options: argparse.Namespace) -> list[str]:
    """Run the main job with one engine: a row of the table."""
    spark = {"RECSYS_MODEL__ENGINE": engine, "RECSYS_SPARK__OPTIONS": toml_table(options.spark)}
    cost = run_tree(["run", *log.arguments, "-o", str(out), "-q"], log.settings | spark)
    found = json.loads((out / "evaluation/evaluation.json").read_text())["metrics"]
    exposures = rows_of(out)["read"]
    a_million = cost.cpu / exposures * 1e6
    quality = [f"{found[name]['value']:.4f}" for name in ("normalized_entropy", "gauc")]
    price = a_million / 3600 * options.price
    return [f"{exposures:,}", engine, *cells(cost), f"{a_million:.0f} s", f"{price:.5f}", *quality]


def rows_of(out: Path) -> dict[str, Any]:
    """Read what the manifest of the first run counted."""
    counted: dict[str, Any] = json.loads((out / "runs/000001/manifest.json").read_text())["rows"]
    return counted


def agreement(local: Path, spark: Path) -> str:
    """Say how far two outputs agree: rows, users, the best n of each user for several n."""
    here, there = (pl.read_parquet(out / "predictions/**/*.parquet") for out in (local, spark))
    pair = ["user_id", "item_id"]
    told = [
        f"rows counted alike: {rows_of(local) == rows_of(spark)}",
        f"the same users: {set(here['user_id'].unique()) == set(there['user_id'].unique())}",
    ]
    for n in (1, 5, 20):
        best = here.filter(pl.col("rank") <= n)
        shared = best.join(there.filter(pl.col("rank") <= n), on=pair, how="semi").height / best.height
        told.append(f"shared top-{n}: {shared:.3f}")
    both = here.join(there, on=pair)
    apart = (both["will_like"] - both["will_like_right"]).abs().median()
    return "; ".join([*told, f"will_like of shared pairs differs by {apart:.4f} (median)"])


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
    parser.add_argument("--log", help="a configuration of your own log, as -c takes it")
    parser.add_argument("--events", help="its events, where they lie elsewhere")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        logs = [given(options)] if options.log else simulated(Path(scratch), options)
        rows, told = [], []
        for number, log in enumerate(logs):
            outs = {engine: Path(scratch) / f"out-{number}-{engine}" for engine in options.engines}
            rows += [measure(log, engine, out, options) for engine, out in outs.items()]
            if len(outs) == len(ENGINES):
                told.append(agreement(**outs))
        print_table(HEAD, rows)
        print("", *told, sep="\n")


def given(options: argparse.Namespace) -> Log:
    """Take the log of the command line, with its own settings."""
    return Log(["-c", options.log, *(["--events", options.events] if options.events else [])], {})


def simulated(scratch: Path, options: argparse.Namespace) -> Iterator[Log]:
    """Write a log of each size when its turn comes."""
    sizes = {
        "RECSYS_MODEL__FACTORS": str(options.factors),
        "RECSYS_MODEL__ITERATIONS": str(options.iterations),
    }
    for millions in options.millions:
        exposures = round(millions * 1e6)
        yield Log(["-c", str(simulate(scratch / f"{exposures}", exposures))], sizes)


if __name__ == "__main__":
    main()
