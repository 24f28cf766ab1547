"""The knobs of a world, its presets, and its streams of randomness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from recsys.errors import UsageError, nearest
from recsys.simulation._knobs import Knob, choice, knob_of, number, share, whole

if TYPE_CHECKING:
    import numpy as np

LOG_STARTS = datetime(2026, 1, 5, tzinfo=UTC)
SECONDS_A_DAY = 86_400
#: Between two refreshes of the feed: new items, displayed counts, what the feed knows, where taste has moved.
TICK_SECONDS = SECONDS_A_DAY // 4
PATTERNS = ("burst", "drip", "sparse", "hijacked")

_NULL = {"exposures": 50_000, "beta_like": 0.0}
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "null": _NULL,
        "small": {"exposures": 50_000},
        "large": {"exposures": 50_000, "beta_like": 3.0},
        "habit": {**_NULL, "habit_spread": 2.5},
        "crowd": {**_NULL, "herding": 1.0},
        "feedback": {**_NULL, "feedback": 1.0},
        "bots": {
            "exposures": 50_000,
            "synthetic_likers": 0.1,
            "synthetic_pattern": "burst",
            "camouflage": 1.0,
            "synthetic_creators": 0.1,
            "fandoms": 0.2,
        },
        "shift": {"exposures": 50_000, "spliced_sessions": 0.2, "drift": 0.05},
        "groups": {"exposures": 50_000, "group_share": 0.3, "group_noise": 3.0},
        "bench": {"exposures": 10_000_000},
    }
)
_EXPOSURES_A_USER = 50
_EXPOSURES_AN_ITEM = 200


@dataclass(frozen=True)
class World:
    """Everything that decides a simulated log.

    The utility of an item to a user is ``taste · direction + quality``, where `direction` is a unit
    vector. Dwell reads that utility through noise, and a press follows dwell::

        dwell = duration · expit(utility - 2 + dwell_noise · group_noise · ε)
        logit P(intended like) = intercept + habit + beta_dwell · ln(1 + dwell) + beta_like · utility
            + herding · ln((1 + likes_shown) / (1 + c)) - position_bias · ln(position) + nudge · is_nudged
        P(like) = a + (1 - a) · P(intended like),  a = accidental_likes · like_rate

    With ``beta_like = 0``, at equal dwell, habit and display, a press carries nothing about taste. The
    other knobs are named beside their fields, with what they do; each has a neutral value, its default,
    at which it moves nothing. `Truth` says what they plant.

    Raises
    ------
    UsageError
        When a knob is not in its range.

    Examples
    --------
    >>> World.preset("null", exposures=1000, users=50).items
    5
    """

    exposures: int = whole("Rows of the log.", most=2_000_000_000)
    users: int = whole("People; one to 50 exposures unless given.")
    items: int = whole("Things; one to 200 exposures unless given.")
    days: int = whole("Length of the log.", most=3_650, neutral=14)
    seed: int = whole("Same seed, same bytes.", least=0, most=2**63 - 1, neutral=0)

    beta_like: float = number(1.0, "Log-odds of a press per unit of utility at equal dwell; 0 is the null.")
    beta_dwell: float = number(0.6, "Log-odds of a press per unit of ln(1 + dwell seconds).")
    like_rate: float = number(0.04, "Mean probability of a person's press.", high=1.0, strictly=True)
    habit_spread: float = number(1.0, "Standard deviation between users of the log-odds of a press.")
    dwell_noise: float = number(
        1.0, "Standard deviation of the noise with which dwell reads utility.", low=0.01, high=10.0
    )
    accidental_likes: float = number(0.0, "Share of presses that may hit any exposure alike.", high=0.99)
    herding: float = number(0.0, "Log-odds of a press per unit of ln(1 + likes shown).")
    position_bias: float = number(0.0, "Log-odds of a press lost per unit of ln(position in the session).")
    nudge: float = number(
        0.0, "Log-odds that a prompt adds to a press; shown by a fair coin unless 0.", low=-float("inf")
    )

    taste_spread: float = number(2.0, "Standard deviation between users of an item's fit to taste.")
    taste_dims: int = whole("Dimensions of taste.", most=1_000, neutral=8)
    quality_spread: float = number(0.5, "Standard deviation between items of what all users share.")
    activity_spread: float = number(1.2, "Standard deviation between users of ln(how often they come).")
    drift: float = number(0.0, "Radians a day by which every taste turns.")
    spliced_sessions: float = share("Share of sessions in which another user holds the device.")
    group_share: float = share("Share of users in group b.")
    group_noise: float = number(1.0, "Factor on the dwell noise of group b.", low=0.01, high=10.0)

    policy_taste: float = number(0.5, "How strongly the feed leans to the user's taste for a category.")
    policy_private: float = number(
        0.0, "Utility of the category that a session is in the mood for; the feed knows, the log does not."
    )
    feedback: float = number(0.0, "How strongly the feed reads ln(1 + the user's likes in a category).")
    epsilon: float = share("Share of exposures drawn at random among the published items.")

    fandoms: float = share("Share of users who are fans of a creator, and come to its premieres.")
    synthetic_likers: float = share("Share of accounts that press by order.")
    synthetic_pattern: str = choice(
        "drip", PATTERNS, "When they do: burst, drip, sparse, or hijacked (people's accounts, at times)."
    )
    camouflage: float = number(0.0, "Presses on other items for each one ordered, 0 to 3.", high=3.0)
    synthetic_creators: float = share("Share of creators whose items are machine-made, and duller.")

    def __post_init__(self) -> None:
        for name, knob in self.knobs().items():
            knob.check(name, getattr(self, name))

    @classmethod
    def knobs(cls) -> dict[str, Knob]:
        """Name every knob, with its range and meaning.

        Returns
        -------
        dict of str to Knob
            In the order of the fields.
        """
        return {declared.name: knob_of(declared) for declared in fields(cls)}

    @classmethod
    def preset(cls, name: str = "small", **overrides: Any) -> World:
        """Build a named world, some of its knobs turned.

        Parameters
        ----------
        name : str
            `null`, `small` and `large`: the press knows nothing, something or much of taste beyond dwell.
            `habit`, `crowd`, `feedback`: nothing, but there is habit, herding, or a feed that reads likes.
            `bots`, `shift`, `groups`: as `small`, with what their names say. `bench`: ten million rows.
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
        known = cls.knobs()
        for knob in overrides:
            if knob not in known:
                raise UsageError(f"a world has no knob {knob!r}: {nearest(knob, known)}")
        given = {**PRESETS[name], **{knob: value for knob, value in overrides.items() if value is not None}}
        known["exposures"].check("exposures", given["exposures"])
        given.setdefault("users", max(1, given["exposures"] // _EXPOSURES_A_USER))
        given.setdefault("items", max(1, given["exposures"] // _EXPOSURES_AN_ITEM))
        return cls(**given)

    @property
    def seconds(self) -> int:
        """Length of the log in seconds."""
        return self.days * SECONDS_A_DAY

    @property
    def ticks(self) -> int:
        """How often the feed is refreshed, the start of the log included."""
        return self.seconds // TICK_SECONDS

    @property
    def likes_an_item(self) -> float:
        """The `c` of herding: likes that an item has on average in the middle of the log."""
        return self.like_rate * self.exposures / self.items / 2

    def stream(self, purpose: str, tick: int | None = None) -> np.random.Generator:
        """Start the random stream of one purpose.

        Streams are told apart by name and tick, so that turning one knob, or adding one, redraws nothing
        else.

        Parameters
        ----------
        purpose : str
            What is drawn from it.
        tick : int, optional
            For what is drawn anew between two refreshes of the feed.

        Returns
        -------
        numpy.random.Generator
        """
        import numpy as np

        key = (0 if tick is None else 1 + tick, *purpose.encode())
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
