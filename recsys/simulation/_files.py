"""A simulation as a folder that is ready to run."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import polars as pl

from recsys.config import CONFIG_NAME
from recsys.errors import InputError, OutputError
from recsys.simulation._draw import EVENTS_SCHEMA, TRUTH_SCHEMA, Part, draw_log
from recsys.simulation._outcomes import AFTER
from recsys.simulation._page import page_text, settings_text
from recsys.simulation._parquet import growing_parquets
from recsys.simulation._pilot import run_pilot
from recsys.simulation._scene import Scene, set_scene
from recsys.simulation._truth import Truth, tell_truth
from recsys.simulation._world import World

_log = logging.getLogger("recsys")
_SECONDS_BETWEEN_LINES = 5.0
_COUNTED = ("liked", "long_view", *AFTER)
_TRUTH, _WORLD = "truth", "world.json"
_EVENTS, _PAGE = "events.parquet", "README.md"
_USERS, _ITEMS = "users.parquet", "items.parquet"
_UNFINISHED = "# Not finished, or cut short: make the simulation again.\n[unfinished_simulation]\n"


def write_simulation(world: World, folder: str | os.PathLike[str], overwrite: bool = False) -> Truth:
    """Draw a log into a folder, with its truth, settings that read it and a page about it.

    The log is written while it is drawn, and never held whole in memory. Until all is written the folder
    holds settings that no command accepts.

    Parameters
    ----------
    world : World
    folder : path-like
        Made where it is missing.
    overwrite : bool
        Write into a folder that holds something. Files with other names stay.

    Returns
    -------
    Truth
        As `read_truth` reads it back.

    Raises
    ------
    OutputError
        When the folder holds something and `overwrite` is not set, or something that no simulation wrote
        would be replaced, or it cannot be written.
    UsageError
        When somebody would have to watch for longer than the log lasts. Nothing is written.
    """
    folder = Path(folder)
    with _writing(folder):
        _check_free(folder, overwrite)
    scene = run_pilot(set_scene(world))
    with _writing(folder):
        (folder / _TRUTH).mkdir(parents=True, exist_ok=True)
        _write_text("{}\n", folder / _TRUTH / _WORLD)
        _write_text(_UNFINISHED, folder / CONFIG_NAME)
        return _write(scene, folder)


def read_truth(folder: str | os.PathLike[str]) -> Truth:
    """Read back what a simulated world is like, to ask it for its probabilities.

    Parameters
    ----------
    folder : path-like
        As written by `write_simulation`.

    Returns
    -------
    Truth

    Raises
    ------
    InputError
        When the folder holds no truth.

    Examples
    --------
    >>> truth = read_truth("data/sample")
    >>> truth.probabilities(pl.DataFrame({"user_id": [1], "item_id": [7]})).height
    1
    """
    truth = Path(folder) / _TRUTH
    try:
        said = json.loads((truth / _WORLD).read_text(encoding="utf-8"))
        users, items = pl.read_parquet(truth / _USERS), pl.read_parquet(truth / _ITEMS)
        return Truth(World(**said["world"]), said["like_intercept"], tuple(said["usual_likes"]), users, items)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.ComputeError) as error:
        raise InputError(f"{str(truth)!r} does not hold the truth of a simulated log: {error}") from None


def _check_free(folder: Path, overwrite: bool) -> None:
    """Let nothing be replaced that is not known to be a simulation."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file: name a folder")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{str(folder)!r} is not empty: name another folder, or pass --overwrite")
    for name in (_EVENTS, _PAGE, CONFIG_NAME):
        if (folder / name).exists() and not (folder / _TRUTH / _WORLD).exists():
            raise OutputError(f"{str(folder / name)!r} is not from a simulation: name another folder")


def _write(scene: Scene, folder: Path) -> Truth:
    world, truth, counts = scene.world, folder / _TRUTH, dict.fromkeys(_COUNTED, 0)
    usual: list[float] = []
    files = {folder / _EVENTS: EVENTS_SCHEMA, truth / "exposures.parquet": TRUTH_SCHEMA}
    with growing_parquets(files) as (events, exposures):
        for part in _with_progress(draw_log(scene), world.exposures):
            events.append(part.events)
            exposures.append(part.truth)
            usual.append(part.usual)
            for name in _COUNTED:
                counts[name] += int(part.events[name].sum())
    told = tell_truth(scene, usual, part.likes)
    told.users.write_parquet(truth / _USERS, compression="zstd")
    told.items.write_parquet(truth / _ITEMS, compression="zstd")
    rates = {name: count / world.exposures for name, count in counts.items()}
    _write_text(page_text(told, rates, folder), folder / _PAGE)
    knobs = {"world": asdict(world), "like_intercept": told.like_intercept, "usual_likes": told.usual_likes}
    _write_text(json.dumps(knobs, indent=2) + "\n", truth / _WORLD)
    _write_text(settings_text(world), folder / CONFIG_NAME)
    return told


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what keeps a folder from being written into one line."""
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"{str(folder)!r} cannot be written: {said.rpartition('IO error: ')[-1]}") from None


def _with_progress(parts: Iterator[Part], rows: int) -> Iterator[Part]:
    """Log how far a long simulation is."""
    said, done = time.monotonic(), 0
    for part in parts:
        yield part
        done += part.events.height
        if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
            said = time.monotonic()
            told = {"event": "simulated", "rows": done, "of": rows}
            _log.info("simulated %s of %s exposures", f"{done:,}", f"{rows:,}", extra=told)


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
