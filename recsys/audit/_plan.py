"""What is fixed before anything is scored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.audit._result import Missing
from recsys.audit._rows import AuditRows
from recsys.config import AuditSettings, ModelSettings, Settings
from recsys.errors import ConfigError, DataError, nearest
from recsys.features import usable_signals
from recsys.schema import DWELL, LIKED

#: An outcome is looked at if it came about so often, and failed to, in each window.
FEWEST_EVENTS = 50


@dataclass(frozen=True)
class Plan:
    """What is fixed before anything is scored.

    Attributes
    ----------
    outcomes : dict of str to tuple of str
        The heads of each: the primary outcome first, then the likes to come, then the other declared ones, which
        get the first head only.
    signals : tuple of str
        Behaviour with enough rows before the calibrate window.
    model : ModelSettings
    audit : AuditSettings
    missing : tuple of Missing
        Outcomes that are too rare.
    settings : dict
        All of it, as plain values.

    """

    outcomes: dict[str, tuple[str, ...]]
    signals: tuple[str, ...]
    model: ModelSettings
    audit: AuditSettings
    missing: tuple[Missing, ...]
    settings: dict[str, Any]

    @property
    def primary(self) -> str:
        """What past likes are to predict: not a like."""
        return next(iter(self.outcomes))

    @property
    def sha256(self) -> str:
        """Of `settings`: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()


def make_plan(rows: AuditRows, settings: Settings) -> Plan:
    """Fix outcomes, heads, seeds and margin.

    Parameters
    ----------
    rows : AuditRows
    settings : Settings

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError
        When the primary outcome is a like, or is not in the log; or a signal or outcome is the like itself.
    DataError
        When there is no outcome but the like, or one of the two that every audit needs is too rare.

    """
    _refuse_the_like(rows)
    primary = _primary(rows, settings.audit)
    declared = [name for name in rows.log.outcomes if name not in (primary, LIKED)]
    missing = {name: _too_rare(rows, name) for name in (primary, LIKED, *declared)}
    for name in (primary, LIKED):
        if found := missing[name]:
            raise DataError(f"{found.why}: {found.needs}")
    heads: tuple[str, ...] = settings.audit.heads
    outcomes = {
        name: heads if name in (primary, LIKED) else heads[:1] for name in missing if not missing[name]
    }
    signals = usable_signals(rows.log, rows.windows.calibrate.cut, settings.model)
    fixed = {
        "audit": settings.audit.model_dump(mode="json"),
        "model": settings.model.model_dump(mode="json"),
        "outcomes": {name: list(one) for name, one in outcomes.items()},
        "signals": list(signals),
        "windows": {
            name: [end.isoformat() for end in (one.cut, one.start, one.end)]
            for name, one in vars(rows.windows).items()
        },
    }
    found_missing = tuple(one for one in missing.values() if one)
    return Plan(outcomes, signals, settings.model, settings.audit, found_missing, fixed)


def _refuse_the_like(rows: AuditRows) -> None:
    """Under another name the like would be behaviour, which nothing beats, or what likes are to predict."""
    exposures = rows.log.exposures
    for role, names in (("signals", rows.log.signals), ("outcomes", rows.log.outcomes)):
        for name in names:
            came = exposures.select(pl.col(name).cast(pl.Float64) > 0).to_series()
            if came.any() and (came == exposures[LIKED]).all():
                raise ConfigError(
                    f"events.{role} names {name!r}, which is the like itself: an audit holds likes against behaviour "
                    f"without a button; take {name!r} out of events.{role}"
                )


def _primary(rows: AuditRows, settings: AuditSettings) -> str:
    numbers = dict.fromkeys((*rows.log.outcomes, *rows.log.signals))
    wanted = settings.primary_outcome
    if wanted == LIKED:
        raise ConfigError(
            "audit.primary_outcome must not be a like, since likes predicting likes is partly circular: choose from "
            + ", ".join(map(repr, numbers))
        )
    if wanted in numbers:
        return wanted
    if "primary_outcome" in settings.model_fields_set:
        raise ConfigError(f"audit.primary_outcome = {wanted!r} is not in the log: {nearest(wanted, numbers)}")
    # What is recorded without a button, dwell last: its median is nobody's decision.
    others = sorted(numbers, key=lambda name: name == DWELL)
    if not others:
        raise DataError(
            "the log has no outcome but the like, and likes predicting likes is partly circular: declare columns as "
            "events.outcomes or events.signals"
        )
    return others[0]


def _too_rare(rows: AuditRows, outcome: str) -> Missing | None:
    fewest = min(
        int((labels == value).sum())
        for table in (rows.learn, rows.score)
        for labels in (rows.labels(table, outcome),)
        for value in (0.0, 1.0)
    )
    if fewest >= FEWEST_EVENTS:
        return None
    return Missing(
        f"Do past likes predict {outcome!r}?",
        f"{outcome!r} has {fewest:,} rows of one kind in a window, fewer than {FEWEST_EVENTS}",
        "more exposures in which it is known, or longer windows",
    )
