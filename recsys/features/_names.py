"""What features are called, and which of them a head reads."""

from __future__ import annotations

from recsys.schema import CATEGORY, CREATOR, ITEM, LIKED, USER

DOT, COUNT, RATE = "dot:", "ln_exposures", "rate:"
APPEAL, AFFINITY, LATELY = "appeal:", "affinity:", "lately:"
LIKED_LATELY, NEWNESS, TREND, TASTE = "liked_lately", "newness", "trend", "taste:lately"
INTERPLAY = "lately_by_appeal"
ENTITIES = (USER, ITEM, CREATOR, CATEGORY)

_READ = (
    f"{USER}:{RATE}{LIKED}",
    f"{ITEM}:{RATE}{LIKED}",
    f"{USER}:{COUNT}",
    f"{USER}:{LIKED_LATELY}",
    f"{ITEM}:{NEWNESS}",
    f"{ITEM}:{TREND}",
    TASTE,
    INTERPLAY,
)
#: Of each outcome, or of each factorisation.
_READ_OF_EACH = (f"{USER}:{LATELY}", APPEAL, f":{AFFINITY}", DOT)


def reads(name: str) -> bool:
    """Say whether a head reads a feature.

    Of counts the user's only, of rates the like rates of user and item only: the others cost a head that learns from
    few likes more than they tell beside the effects.
    """
    return name in _READ or any(part in name for part in _READ_OF_EACH)


def evidence_of(outcome: str) -> tuple[str, ...]:
    """Name what is log-odds of an outcome and shrunk: a head with little to learn from takes it at face value."""
    return (
        f"{USER}:{LATELY}{outcome}",
        f"{APPEAL}{outcome}",
        *(f"{kind}:{AFFINITY}{outcome}" for kind in (CREATOR, CATEGORY)),
    )


#: Of the features that read likes: how often this user presses, and what the crowd makes of the item.
OF_HABIT = (f"{USER}:{RATE}{LIKED}", f"{USER}:{LATELY}{LIKED}", f"{USER}:{LIKED_LATELY}")
OF_CROWD = (f"{ITEM}:{RATE}{LIKED}", f"{APPEAL}{LIKED}", INTERPLAY)


def reads_likes(name: str) -> bool:
    """Say whether a feature depends on who liked what."""
    return name.endswith(f":{LIKED}") or name in (f"{USER}:{LIKED_LATELY}", TASTE, INTERPLAY)
