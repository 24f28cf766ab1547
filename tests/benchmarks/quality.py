"""Ours beside what people use today, on the same rows of the real log: the table of the README.

Run from the root of the repository (a few minutes; LightGBM is in the dev group)::

    uv run python tests/benchmarks/quality.py [--shared ../shared] [--draws 1000]

Windows and settings are those of data/cards/kuairand-pure. Each model is fitted by the same protocol (see
`rivals.py`) and scored on the same test rows; lists leave out the same seen pairs, from the same catalogue.
Intervals are 95 %, by user; differences are of the same draws of users. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from main_job import ROOT, SHARED
from paired import FIGURES, Figure, UserDraws, cell, probability_figures, ranking_figures, table
from rivals import ALS_DIALS, GBM_DIALS, LMF_DIALS, MODELS, Trial, say

from recsys import load_settings
from recsys.events import read
from recsys.schema import LIKED, USER

CARD = ROOT / "data/cards/kuairand-pure"


def main() -> None:
    """Fit every model, print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    options = parser.parse_args()
    log = options.shared / "data/kuairand_pure/events.parquet"
    settings = load_settings(CARD, {"events": {"path": str(log)}})
    trial = Trial.of(read(settings.events), settings)
    describe(trial, options.draws)
    draws = UserDraws.of(trial.test[USER], options.draws, settings.model.seed)
    found = {name: score(trial, draws, name) for name in options.models}
    print("\n" + figures(found))
    print(
        "\nHow much better recsys is (positive everywhere: recsys is better), paired\n\n" + differences(found)
    )


def describe(trial: Trial, draws: int) -> None:
    """Print what is scored on what, and with which dials."""
    test, window, relevant = trial.test, trial.windows.test, trial.relevant
    print(f"test: {len(test):,} exposures, {test[LIKED].sum():,} likes, {window.start} to {window.end}")
    print(f"to be found: {len(relevant):,} unseen likes of {relevant[USER].n_unique():,} users")
    print(f"calibrate: {len(trial.calibrate):,} exposures, {trial.calibrate[LIKED].sum():,} likes")
    print(f"{draws} draws of users; recsys: {trial.settings.model!r}")
    for name, dials in {"ALS": ALS_DIALS, "LMF": LMF_DIALS, "LightGBM": GBM_DIALS}.items():
        print(f"{name}, tried on the calibrate window: " + "; ".join(say(choice) for choice in dials))


def score(trial: Trial, draws: UserDraws, name: str) -> dict[str, Figure]:
    """Fit one model and compute its figures."""
    began = time.perf_counter()
    forecast = MODELS[name](trial)
    print(f"  {name}: {time.perf_counter() - began:.0f} s. {forecast.note}", flush=True)
    return {
        **probability_figures(draws, trial.test, forecast.will_like),
        **ranking_figures(draws, forecast.ranked, trial.relevant),
    }


def figures(found: dict[str, dict[str, Figure]]) -> str:
    """Write every model's figures."""
    rows = [[name, *(cell(of[figure]) for figure in FIGURES)] for name, of in found.items()]
    return table(["", "NE (lower is better)", *FIGURES[1:]], rows)


def differences(found: dict[str, dict[str, Figure]]) -> str:
    """Write by how much the first model is better than each other one."""
    first, *others = found
    rows = []
    for name in others:
        gains = {
            figure: found[name][figure] - ours if figure == "NE" else ours - found[name][figure]
            for figure, ours in found[first].items()
        }
        rows.append([name, *(cell(gains[figure], signed=True, digits=4) for figure in FIGURES)])
    return table(["", *(f"{figure} gain" for figure in FIGURES)], rows)


if __name__ == "__main__":
    main()
