"""The knobs of a world, and its streams of randomness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import numpy as np

from recsys.errors import UsageError, nearest

LOG_STARTS = datetime(2026, 1, 5, tzinfo=UTC)
SECONDS_A_DAY = 86_400
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "small": MappingProxyType({"exposures": 50_000}),
        "null": MappingProxyType({"exposures": 50_000, "beta_like": 0.0}),
        "large": MappingProxyType({"exposures": 5_000_000}),
    }
)
_EXPOSURES_A_USER = 50
_EXPOSURES_AN_ITEM = 200
_LEAST = {"exposures": 1, "users": 1, "items": 1, "days": 1, "taste_dims": 1, "seed": 0}


@dataclass(frozen=True)
class World:
    """Everything that decides a simulated log.

    The utility of an item to a user is ``taste · direction + quality``, where `direction` is a unit
    vector. Dwell reads that utility through noise, and a press follows dwell:
    ``logit P(like) = intercept + habit + beta_dwell · ln(1 + dwell_seconds) + beta_like · utility``.

    Attributes
    ----------
    exposures, users, items : int
        Rows of the log, people and things. A person or thing may not appear in it.
    days : int
        Length of the log.
    seed : int
        Starts every random stream.
    beta_like : float
        Log-odds of a press per unit of utility, at equal dwell and habit. At 0 a press tells nothing
        about taste that user and dwell do not tell.
    beta_dwell : float
        Log-odds of a press per unit of ``ln(1 + dwell seconds)``.
    like_rate : float
        The mean probability of a like, once the dwell is known, over the log's exposures; in (0, 1).
    habit_spread : float
        Standard deviation between users of the log-odds of a press. The odds are log-normal.
    dwell_noise : float
        Standard deviation of the noise with which dwell reads utility.
    taste_spread : float
        Standard deviation between users of an item's fit to their taste.
    taste_dims : int
        Dimensions of taste.
    quality_spread : float
        Standard deviation between items of quality, the utility that everyone shares.
    policy_taste : float
        How strongly the feed prefers what fits the user among its candidates; at 0 it knows popularity
        alone. It never reads likes.
    activity_spread : float
        Standard deviation between users of the logarithm of how often they come.

    Raises
    ------
    UsageError
        When a knob is not a number in its range.

    Examples
    --------
    >>> World.preset("null", exposures=1000, users=50).items
    5
    """

    exposures: int
    users: int
    items: int
    days: int = 14
    seed: int = 0
    beta_like: float = 1.0
    beta_dwell: float = 0.6
    like_rate: float = 0.04
    habit_spread: float = 1.0
    dwell_noise: float = 1.0
    taste_spread: float = 2.0
    taste_dims: int = 8
    quality_spread: float = 0.5
    policy_taste: float = 0.5
    activity_spread: float = 1.2

    def __post_init__(self) -> None:
        for knob in fields(self):
            _check(knob.name, getattr(self, knob.name))

    @classmethod
    def preset(cls, name: str = "small", **overrides: Any) -> World:
        """Build a named world, some of its knobs turned.

        Parameters
        ----------
        name : str
            `small`; `null`, the same with presses that carry nothing about taste; or `large`.
        **overrides
            Knobs by name. `None` leaves a knob where the preset has it. Unless given, there is one user
            to 50 exposures and one item to 200.

        Returns
        -------
        World

        Raises
        ------
        UsageError
            When there is no such preset or knob, or a knob is out of range.
        """
        if name not in PRESETS:
            raise UsageError(f"there is no preset {name!r}: {nearest(name, PRESETS)}")
        known = [knob.name for knob in fields(cls)]
        for knob in overrides:
            if knob not in known:
                raise UsageError(f"a world has no knob {knob!r}: {nearest(knob, known)}")
        knobs = {**PRESETS[name], **{knob: value for knob, value in overrides.items() if value is not None}}
        _check("exposures", knobs["exposures"])
        knobs.setdefault("users", max(1, knobs["exposures"] // _EXPOSURES_A_USER))
        knobs.setdefault("items", max(1, knobs["exposures"] // _EXPOSURES_AN_ITEM))
        return cls(**knobs)

    @property
    def seconds(self) -> int:
        """Length of the log in seconds."""
        return self.days * SECONDS_A_DAY

    def stream(self, purpose: str) -> np.random.Generator:
        """Start the random stream of one purpose.

        Streams are told apart by name, so that turning one knob, or adding one, redraws nothing else.

        Parameters
        ----------
        purpose : str
            What is drawn from it.

        Returns
        -------
        numpy.random.Generator
        """
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=tuple(purpose.encode())))


def _check(name: str, value: Any) -> None:
    if name in _LEAST:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < _LEAST[name]:
            raise UsageError(f"{name} must be a whole number of at least {_LEAST[name]}, got {value!r}")
    elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value!r}")
    elif name == "like_rate" and not 0 < value < 1:
        raise UsageError(f"like_rate must lie strictly between 0 and 1, got {value!r}")
    elif name == "dwell_noise" and value <= 0:
        raise UsageError(f"dwell_noise must be positive, got {value!r}: try 0.01 for almost none")
    elif name not in ("like_rate", "dwell_noise") and value < 0:
        raise UsageError(f"{name} must not be negative, got {value!r}")
