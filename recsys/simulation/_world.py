"""The knobs of a world, its presets, and its streams of randomness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from recsys.errors import UsageError, nearest
from recsys.simulation._knobs import Knob, choice, knob_of, number, whole

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
        # What a press tells of taste beyond dwell: nothing, something, much (presses that are many, and dwell
        # that says little: at 4 % likes and a clear dwell, a stronger press hardly adds; see LOG.md).
        "null": _NULL,
        "small": {"exposures": 50_000},
        "large": {"exposures": 50_000, "beta_like": 3.0, "dwell_noise": 3.0, "like_rate": 0.2},
        # Nothing, and a trap: users who differ in how often they press; likes that draw likes, so that the
        # crowd foretells likes and nothing else; a feed that reads likes.
        "habit": {**_NULL, "habit_spread": 2.5},
        "crowd": {**_NULL, "herding": 0.5},
        "feedback": {**_NULL, "feedback": 1.0},
        # As small, and what their names say.
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
        # As small, at scale.
        "bench": {"exposures": 10_000_000},
    }
)
_EXPOSURES_A_USER = 50
_EXPOSURES_AN_ITEM = 200


@dataclass(frozen=True)
class World:
    """Everything that decides a simulated log.

    Utility is what an item is worth to a user, on the scale of the log-odds of the share watched;
    `direction` is a unit vector::

        utility = taste(day) · direction + quality + 2 · is_fan + policy_private · in_mood

    Dwell, in seconds, reads it through standard normal noise ε, and a person's press follows dwell::

        dwell = duration / (1 + exp(2 - utility - dwell_noise · g · ε)),  g = group_noise in group b, else 1
        logit P(intended like) = intercept + habit + beta_dwell · ln(1 + dwell) + beta_like · utility
            + herding · (ln(1 + likes_shown) - usual)
            - position_bias · ln(position) + nudge · is_nudged
        P(like) = a + (1 - a) · P(intended like),  a = accidental_likes · like_rate

    What is `usual` is the mean of ``ln(1 + likes_shown)`` over what is published, by popularity, as of the
    last refresh. With ``beta_like = 0`` a press carries nothing about taste once dwell, habit and display (likes shown,
    position, prompt) are known. Accounts under control press by order instead. Every field has its
    meaning, range and default beside it; what is planted, from `accidental_likes` on, is off at its default.

    Raises
    ------
    UsageError
        When a knob is not in its range.

    Examples
    --------
    >>> World.preset("null", exposures=1000, users=50).items
    5
    """

    exposures: int = whole("Rows of the log.", 1, 2_000_000_000)
    users: int = whole("People; one to 50 exposures unless given.", 1, 2**31 - 1)
    items: int = whole("Things; one to 200 exposures unless given.", 1, 2**31 - 1)
    days: int = whole("Length of the log.", 1, 3_650, default=14)
    seed: int = whole("Same seed, same bytes.", 0, 2**63 - 1, default=0)

    beta_like: float = number("Log-odds of a press per unit of utility, at equal dwell.", 0, 20, default=1.0)
    beta_dwell: float = number("Log-odds of a press per unit of ln(1 + dwell seconds).", 0, 5, default=0.6)
    like_rate: float = number(
        "Mean probability of a person's press; herding and feedback may add to it.",
        1e-4,
        0.9999,
        default=0.04,
    )
    habit_spread: float = number(
        "Standard deviation between users of the log-odds of a press.", 0, 20, default=1.0
    )
    dwell_noise: float = number(
        "Standard deviation of the noise with which dwell reads utility.", 0.01, 10, default=1.0
    )
    taste_spread: float = number(
        "Standard deviation between users of an item's fit to taste.", 0, 20, default=2.0
    )
    taste_dims: int = whole("Dimensions of taste.", 1, 1_000, default=8)
    quality_spread: float = number(
        "Standard deviation between items of what all users share.", 0, 20, default=0.5
    )
    activity_spread: float = number(
        "Standard deviation between users of ln(how often they come).", 0, 5, default=1.2
    )
    policy_taste: float = number(
        "How strongly the feed leans to the user's taste for a category.", 0, 100, default=0.5
    )

    accidental_likes: float = number(
        "Share of presses that may hit any exposure alike.", 0, 0.99, default=0.0
    )
    herding: float = number("Log-odds of a press per unit of ln(1 + likes shown).", 0, 10, default=0.0)
    position_bias: float = number(
        "Log-odds of a press lost per unit of ln(position in the session).", 0, 10, default=0.0
    )
    nudge: float = number(
        "Log-odds that a prompt adds to a press; unless 0, a fair coin shows it.", -20, 20, default=0.0
    )
    drift: float = number("Radians a day by which every taste turns.", 0, 10, default=0.0)
    spliced_sessions: float = number(
        "Share of sessions in which another user holds the device.", 0, 1, default=0.0
    )
    group_share: float = number("Share of users in group b.", 0, 1, default=0.0)
    group_noise: float = number(
        "With group_share: factor on the dwell noise of group b.", 0.01, 10, default=1.0
    )
    policy_private: float = number(
        "Utility of the category that a session is in the mood for; only the feed knows it, and of the log "
        "only its policy_score and propensity.",
        0,
        20,
        default=0.0,
    )
    feedback: float = number(
        "How strongly the feed reads ln(1 + the user's likes in a category).", 0, 100, default=0.0
    )
    epsilon: float = number(
        "Share of exposures drawn at random among the published items.", 0, 1, default=0.0
    )
    fandoms: float = number(
        "Share of users who are fans of a creator, and come to its premieres.", 0, 1, default=0.0
    )
    synthetic_likers: float = number("Share of accounts that press by order.", 0, 1, default=0.0)
    synthetic_pattern: str = choice(
        "With synthetic_likers: burst, drip, sparse, or hijacked (people's accounts, at times).",
        PATTERNS,
        default="drip",
    )
    camouflage: float = number(
        "With synthetic_likers: presses on other items for each visit to an ordered one.", 0, 3, default=0.0
    )
    synthetic_creators: float = number(
        "Share of creators whose items are machine-made, and duller.", 0, 1, default=0.0
    )

    def __post_init__(self) -> None:
        for name, knob in self.knobs().items():
            knob.check(name, getattr(self, name))
        if self.drift and self.taste_dims == 1:
            raise UsageError(f"drift needs at least 2 taste_dims to turn in, got {self.taste_dims}")

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
            A key of `PRESETS`, which says what each plants.
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
    def accident_rate(self) -> float:
        """Probability that any exposure is liked by accident."""
        return self.accidental_likes * self.like_rate

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
