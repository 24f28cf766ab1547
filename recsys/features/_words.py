"""A feature and its value -> English."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from recsys.features._names import (
    AFFINITY,
    APPEAL,
    COUNT,
    DOT,
    ENTITIES,
    INTERPLAY,
    LATELY,
    LIKED_LATELY,
    NEWNESS,
    RATE,
    TASTE,
    TREND,
)
from recsys.features._recency import HALF_LIFE_DAYS
from recsys.features._snapshot import Snapshot
from recsys.schema import CATEGORY, CREATOR, EXPOSED, ITEM, LIKED, USER

_WHO = {USER: "this user", ITEM: "this item", CREATOR: "its creator", CATEGORY: "its category"}
_COUNTED = {
    USER: "exposures of this user: {}",
    ITEM: "exposures of this item: {}",
    CREATOR: "exposures of items of its creator: {}",
    CATEGORY: "exposures of items of its category: {}",
}
#: Log-ratios nearer to 0 than this come to 1.00.
_HARDLY = 0.005
_OUTCOMES = {LIKED: "likes", EXPOSED: "exposures"}


@dataclass(frozen=True)
class _Told:
    """A feature taken apart: whose, of what, how much, how much for one never seen, what an item belongs to."""

    kind: str
    outcome: str
    value: float
    unseen: float
    belongs: tuple[str, ...]

    @property
    def odds(self) -> str:
        return _times(self.value, "the usual odds")


def put_in_words(snapshot: Snapshot, names: Sequence[str], values: NDArray[np.float64]) -> list[str]:
    """Say what each feature of a pair is, and what it comes to.

    Parameters
    ----------
    snapshot : Snapshot
    names : sequence of d str
        Of `Snapshot.names`.
    values : ndarray, shape (d,)
        Of one pair.

    Returns
    -------
    list of d str
        An effect of 0.69 log-odds is "2 times the usual odds": those expected without it.

    """
    belongs = tuple(_WHO[kind] for kind in snapshot.links)
    return [_say(snapshot, belongs, name, float(value)) for name, value in zip(names, values, strict=True)]


def _say(snapshot: Snapshot, belongs: tuple[str, ...], name: str, value: float) -> str:
    kind, _, rest = name.partition(":")
    if kind not in ENTITIES:
        kind, rest = "", name
    family, _, outcome = rest.partition(":")
    table = snapshot.entities.get(kind)
    of_nobody = {} if table is None else dict(zip(table.names, table.values[-1].tolist(), strict=True))
    return _SAY[family](_Told(kind, outcome, value, of_nobody.get(rest, 0.0), belongs))


def _times(log_ratio: float, what: str) -> str:
    return what if abs(log_ratio) < _HARDLY else f"{np.exp(log_ratio):.3g} times {what}"


def _outcome(name: str) -> str:
    return _OUTCOMES.get(name, f"'{name}'")


def _say_rate(told: _Told) -> str:
    rate, unseen = (f"{100 * expit(one):.2g} %" for one in (told.value, told.unseen))
    return f"rate of {_outcome(told.outcome)}, {_WHO[told.kind]}: {rate} ({unseen} for one never seen)"


def _say_count(told: _Told) -> str:
    # The value is ln(1 + n) less a mean, and so is that of one never seen, whose n is 0.
    return _COUNTED[told.kind].format(f"{round(np.expm1(told.value - told.unseen)):,}")


def _say_newness(told: _Told) -> str:
    if told.value >= 1:
        return "this item is new"
    if told.value <= 0:
        # The weight has halved until no number is left: a thousand times seven days.
        return "this item was created, or first shown, more than 20 years before"
    return f"this item was created, or first shown, {-HALF_LIFE_DAYS * np.log2(told.value):.1f} days before"


def _say_liked_lately(told: _Told) -> str:
    if told.value <= 0:
        return "this user has liked nothing that was shown, or only too long ago to count"
    return f"how recent this user's last like is: {told.value:.2f} (1 is the last exposure, 0 long ago)"


def _say_appeal(told: _Told) -> str:
    *named, last = ("this item", *told.belongs)
    of = f"{', '.join(named)} and {last}" if named else last
    return f"{_outcome(told.outcome)} of {of}: {told.odds}"


def _say_dot(told: _Told) -> str:
    # Warm factors do not meet at exactly zero.
    size = f"{told.value:.2f} of a typical score" if told.value else "none of this user or of this item"
    return f"ALS of '{told.outcome}': {size}"


def _say_taste(told: _Told) -> str:
    size = f"{told.value:.2f} of a typical one" if told.value else "nothing to compare"
    return f"likeness to what this user liked lately: {size}"


_OF_FAMILY: dict[str, Callable[[_Told], str]] = {
    RATE: _say_rate,
    COUNT: _say_count,
    LATELY: lambda told: f"{_outcome(told.outcome)} by this user lately: {told.odds}",
    LIKED_LATELY: _say_liked_lately,
    NEWNESS: _say_newness,
    TREND: lambda told: f"recent exposures of this item: {_times(told.value, 'the usual share')}",
    APPEAL: _say_appeal,
    AFFINITY: lambda told: (
        f"{_outcome(told.outcome)}, what this user makes of {_WHO[told.kind]}: {told.odds}"
    ),
    DOT: _say_dot,
    TASTE: _say_taste,
    INTERPLAY: lambda told: f"likes by this user times likes of this item, in log-odds: {told.value:.2f}",
}
_SAY = {name.partition(":")[0]: say for name, say in _OF_FAMILY.items()}
