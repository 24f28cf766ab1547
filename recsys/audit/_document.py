"""What an audit found, in whole, and as `audit.json` holds it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from recsys.audit._result import (
    Control,
    Dose,
    ExchangeRate,
    KnownBefore,
    Lift,
    Missing,
    PlaceboCheck,
    ResidualPress,
    Rung,
    Verdict,
)
from recsys.errors import UsageError
from recsys.split import Windows


@dataclass(frozen=True)
class Audit:
    """The like-button audit of one log.

    Attributes
    ----------
    verdict : Verdict
    known : KnownBefore
    lifts : tuple of Lift
        The primary outcome first, then the likes to come, then the other declared outcomes; heads within.
    placebos : tuple of PlaceboCheck
    exchange : ExchangeRate or None
    dose : tuple of Dose
    residual : ResidualPress or None
    segments : polars.DataFrame
        Exploratory: one row a `kind` and `segment` with `exposures`, `users`, `lift`, `low`, `high`, `shrunk`,
        `p_value`, `marked`; of the primary outcome, first head.
    controls : tuple of Control
    missing : tuple of Missing
    windows : Windows
    rows : dict of str to int
        `known`, `past_likes`, `likes_without_view` (left out), `learned_from`, `scored`, `scored_likes`, `users`.
    settings : dict
        Everything that was fixed before scoring, as plain values.
    settings_sha256 : str
    losses : polars.DataFrame
        One row a scored exposure: ids, time, `liked`, the primary outcome, and mean losses of each arm under each head.

    """

    verdict: Verdict
    known: KnownBefore
    lifts: tuple[Lift, ...]
    placebos: tuple[PlaceboCheck, ...]
    exchange: ExchangeRate | None
    dose: tuple[Dose, ...]
    residual: ResidualPress | None
    segments: pl.DataFrame
    controls: tuple[Control, ...]
    missing: tuple[Missing, ...]
    windows: Windows
    rows: dict[str, int]
    settings: dict[str, Any]
    settings_sha256: str
    losses: pl.DataFrame

    def lift(self, outcome: str, head: str) -> Lift:
        """Find the lift of an outcome under a head.

        Parameters
        ----------
        outcome, head : str

        Returns
        -------
        Lift

        Raises
        ------
        UsageError
            When the audit asked no such question.

        """
        found = {(one.outcome, one.head): one for one in self.lifts}
        if (outcome, head) in found:
            return found[outcome, head]
        asked = ", ".join(f"{an_outcome!r} under {a_head!r}" for an_outcome, a_head in found)
        raise UsageError(f"the audit has no lift of {outcome!r} under {head!r}: choose from {asked}")

    def as_dict(self) -> dict[str, Any]:
        """Give what `audit.json` holds: plain fractions, null where something cannot be estimated."""
        known = self.known
        found = {
            "verdict": {**asdict(self.verdict), "sentences": list(self.verdict.sentences)},
            "known_before_press": {
                **known.rung("R1").explained.as_dict(),
                "ladder": [_rung_dict(rung) for rung in known.ladder],
                "bits_of_a_press": known.bits_of_a_press,
                "bits_left": known.bits_left,
            },
            "like_lift": self._lift_dicts(),
            "placebos": [asdict(one) for one in self.placebos],
            "exchange_rate": None if self.exchange is None else _exchange_dict(self.exchange),
            "dose": [{**asdict(one), "lift": one.lift.as_dict()} for one in self.dose],
            "residual_press": None if self.residual is None else _residual_dict(self.residual),
            "segments": self.segments.to_dicts(),
            "controls": {one.name: _control_dict(one) for one in self.controls},
            "not_estimable": [asdict(one) for one in self.missing],
            "windows": {name: window.as_dict() for name, window in vars(self.windows).items()},
            "rows": self.rows,
            "settings": self.settings,
            "settings_sha256": self.settings_sha256,
        }
        return {name: _finite(one) for name, one in found.items()}

    def _lift_dicts(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for one in self.lifts:
            found.setdefault(one.outcome, {})[one.head] = {
                **one.value.as_dict(),
                "bits_per_like": one.bits_per_like,
                "by_placebo": {name: each.as_dict() for name, each in one.by_placebo.items()},
                "pieces": {name: each.as_dict() for name, each in one.pieces.items()},
                "rank_p": one.rank_p,
                "p_holm": one.p_holm,
                "rows": one.rows,
                "events": one.events,
                "users": one.users,
            }
        return found


def _finite(value: Any) -> Any:
    """Turn what JSON cannot hold, NaN and infinity, into None, however deep."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rung_dict(rung: Rung) -> dict[str, Any]:
    increment = None if rung.increment is None else rung.increment.as_dict()
    return {"rung": rung.name, "inputs": rung.inputs, **rung.explained.as_dict(), "increment": increment}


def _exchange_dict(found: ExchangeRate) -> dict[str, Any]:
    rate = None if found.exposures_per_like is None else found.exposures_per_like.as_dict()
    return {"exposures_per_like": rate, "why": found.why, "curve": found.curve.to_dicts()}


def _residual_dict(found: ResidualPress) -> dict[str, Any]:
    return {**asdict(found), "effect": found.effect.as_dict()}


def _control_dict(control: Control) -> dict[str, Any]:
    return {"passed": control.passed, "stops": control.stops, "said": control.said}
