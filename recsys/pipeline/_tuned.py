"""Tune, and leave settings that run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsys import store, tuning
from recsys.config import Settings
from recsys.pipeline._about import settings_sha256
from recsys.pipeline._job import Job
from recsys.pipeline._toml import settings_toml, toml_value
from recsys.tuning import Tuning

TUNED = "tuned.toml"
_STUDIES, _TRIALS = "tuning", "trials.parquet"


@dataclass(frozen=True)
class Tuned:
    """What `tune` found and wrote.

    Attributes
    ----------
    tuning : Tuning
    config : pathlib.Path
        The settings with the best values: ``OUT/tuned.toml``.
    trials : pathlib.Path
        The trials as a table: ``OUT/tuning/trials.parquet``.

    """

    tuning: Tuning
    config: Path
    trials: Path


def tune(job: Job, trials: int = 30, timeout: float | None = None) -> Tuned:
    """Choose the model's settings on the calibration window, and write them down.

    Parameters
    ----------
    job : Job
    trials : int
        Of the study in all: those of an earlier call with the same log and settings count.
    timeout : float, optional
        Seconds after which no trial begins.

    Returns
    -------
    Tuned

    Raises
    ------
    RecsysError
        See `recsys.tuning.tune`; LockedError when another run holds the output folder.

    """
    with store.locked(job.settings.output.path, job.wait) as out:
        log = job.read()
        with job.stage("tune"):
            found = tuning.tune(
                log,
                job.settings,
                trials=trials,
                timeout=timeout,
                threads=job.threads,
                studies=out / _STUDIES,
            )
        store.write_table(out / _STUDIES / _TRIALS, found.trials)
        store.write_file(out / TUNED, tuned_toml(found, job.settings, out).encode())
    return Tuned(found, out / TUNED, out / _STUDIES / _TRIALS)


def tuned_toml(found: Tuning, settings: Settings, folder: Path) -> str:
    """Write the settings with the best values in them, and where those come from.

    Parameters
    ----------
    found : Tuning
    settings : Settings
        Those that tuning began with.
    folder : pathlib.Path
        Where the text will be saved.

    Returns
    -------
    str
        TOML that every command takes.

    """
    window = f"{found.window.start.isoformat()} to {found.window.end.isoformat()}"
    pruned = int((found.trials["state"] == "pruned").sum())
    head = [
        f"# Chosen by `recsys tune` on {found.rows:,} exposures, {found.likes:,} likes, of the calibrate window,",
        f"# {window}, in {len(found.trials)} trials, {pruned} of them stopped early.",
        f"# {found.verdict}",
        "# The test window was not seen; the best of many trials looks better here than it is: `recsys evaluate`.",
        f"# Settings it began with: sha256 {settings_sha256(settings)}",
    ]
    before, after = found.base.model_dump(), found.best.model_dump()
    changed = [name for name in after if after[name] != before[name]]
    said = {f"model.{name}": f"was {toml_value(before[name])}" for name in changed}
    best = settings.model_copy(update={"model": found.best})
    return "\n".join([*head, "", settings_toml(best, folder, said)])
