"""A simulation as a folder that is ready to run."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict
from pathlib import Path

import polars as pl

from recsys.config import CONFIG_NAME
from recsys.errors import OutputError
from recsys.simulation._feed import CANDIDATES
from recsys.simulation._simulate import Simulation
from recsys.simulation._truth import HALF_WATCHED
from recsys.simulation._world import World

_ROW_GROUP = 1 << 18
_SETTINGS = """\
# A simulated log, ready to run. What was planted in it is in README.md and truth/.

[events]
path = "events.parquet"       # relative to this file
signals = ["long_view"]       # recorded without a button; one factorisation each
outcomes = ["long_view", "follow", "share"]

[events.columns]              # role = column; user, item and time have their default names
like = "liked"
dwell = "dwell_seconds"
creator = "creator_id"
category = "category"

[windows]                     # lengths back from the end of the log
calibrate = "{window}"
test = "{window}"

[model]
factors = 16
iterations = 15
alpha = 10.0                  # confidence = 1 + alpha * r
regularization = 0.05

[output]
path = "out"
top_n = 20
"""
_README = """\
# A simulated log with known truth

{made_by}

    {command}

{rows:,} exposures of {items:,} items to {users:,} users over {days} days. No person is behind any row.
Liked: {liked:.1%}. Long views: {long_view:.1%}. Followed by a follow: {follow:.1%}, by a share: {share:.1%}.

## What was planted

- **Taste.** The utility of an item to a user is `taste · direction + quality`, in {taste_dims} dimensions.
  The first term has standard deviation {taste_spread} between users, quality {quality_spread} between items.
  Items keep to their creator's direction, creators to their category's.
- **Dwell** reads utility through noise, and is kept to 0.1 s:
  `dwell_seconds = duration · expit(utility - {half} + {dwell_noise} · noise)`.
  A `long_view` is half of the item or more.
- **A press** follows dwell:
  `logit P = {intercept:.3f} + habit + {beta_dwell} · ln(1 + dwell_seconds) + {beta_like} · utility`.
  {knows}
  Habit is normal between users, with standard deviation {habit_spread}.
- **Follow and share** depend on utility, never on the press: likes foretell them through taste alone.
- **The feed** draws {candidates} published items by popularity and shows one of them,
  with odds `exp({policy_taste} · taste · direction)`. It rarely shows a pair twice, and never reads likes.
- Users differ widely in how often they come, items in how often they are shown.
  Some items are born inside the log.

## Files

- `events.parquet`: the log, one row an exposure, sorted by time.
- `recsys.toml`: settings that read it.
- `truth/exposures.parquet`, row by row beside the log: `utility`, `p_like_before` (dwell integrated out),
  `p_like_given_dwell`, `p_long_view_before`.
- `truth/users.parquet`: `habit`, `activity`, `taste`. `truth/items.parquet`: `direction`, `quality`,
  `popularity`, `duration_seconds`, and what the log says of each item.
- `truth/world.json`: every knob, and the intercept found for them.
"""


def write_simulation(simulation: Simulation, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a log, its truth, settings that read it and a page about it.

    Parameters
    ----------
    simulation : Simulation
    folder : path-like
        Made where it is missing.
    overwrite : bool
        Write into a folder that holds something. Files with other names stay.

    Raises
    ------
    OutputError
        When the folder holds something and `overwrite` is not set, or cannot be written.
    """
    folder = Path(folder)
    try:
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{str(folder)!r} is not empty: name another folder, or pass --overwrite")
        _write(simulation, folder)
    except OSError as error:
        raise OutputError(f"{str(folder)!r} cannot be written: {error.strerror or error}") from None


def _write(simulation: Simulation, folder: Path) -> None:
    truth = folder / "truth"
    truth.mkdir(parents=True, exist_ok=True)
    knobs = {"world": asdict(simulation.world), "like_intercept": simulation.like_intercept}
    _write_parquet(simulation.events, folder / "events.parquet")
    _write_parquet(simulation.truth_users, truth / "users.parquet")
    _write_parquet(simulation.truth_items, truth / "items.parquet")
    _write_parquet(simulation.truth_exposures, truth / "exposures.parquet")
    _write_text(json.dumps(knobs, indent=2) + "\n", truth / "world.json")
    _write_text(_SETTINGS.format(window=_window_length(simulation.world.days)), folder / CONFIG_NAME)
    _write_text(_describe(simulation, folder), folder / "README.md")


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    # Left to itself, the size of a row group may follow the number of threads.
    frame.write_parquet(path, compression="zstd", compression_level=19, row_group_size=_ROW_GROUP)


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _window_length(days: int) -> str:
    """Three days in fourteen."""
    whole = days * 3 // 14
    return f"{whole}d" if whole else f"{days * 72 // 14}h"


def _describe(simulation: Simulation, folder: Path) -> str:
    world, events = simulation.world, simulation.events
    command = _command(world, folder)
    return _README.format(
        **asdict(world),
        **{name: events[name].mean() for name in ("liked", "long_view", "follow", "share")},
        made_by="Made by" if command else "Made from Python, since it turns knobs that have no option, by",
        command=command or f"write_simulation(simulate({world!r}), {folder.as_posix()!r}, overwrite=True)",
        rows=events.height,
        half=HALF_WATCHED,
        candidates=CANDIDATES,
        intercept=simulation.like_intercept,
        knows="The last term is what a press knows of taste beyond user and dwell."
        if world.beta_like
        else "Without the last term, a press knows nothing of taste that user and dwell do not say.",
    )


def _command(world: World, folder: Path) -> str | None:
    """Write the command that makes this world, where its knobs have options."""
    options = ["exposures", "users", "items", "days", "beta_like", "seed"]
    given = {name: getattr(world, name) for name in options}
    if World.preset("small", **given) != world:
        return None
    sizes = {"exposures", "users", "items", "seed"}
    usual = asdict(World.preset("small"))
    said = [name for name in options if name in sizes or given[name] != usual[name]]
    flags = " ".join(f"--{name.replace('_', '-')} {given[name]}" for name in said)
    return f"recsys simulate {shlex.quote(folder.as_posix())} --preset small {flags} --overwrite"
