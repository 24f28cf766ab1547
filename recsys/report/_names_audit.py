"""What the parts of an audit are called."""

from __future__ import annotations

from recsys.audit import PRIMARY_PLACEBO, Audit, Lift

#: The likes to come, as an outcome.
FUTURE_LIKES = "liked"
_PLACEBOS = {
    "global": "their number",
    "dwell": "+ dwell",
    "habit": "+ users' counts",
    "habit_crowd": "+ items' counts",
}
_PIECES = {"dwell_echo": "dwell echo"}


def name_piece(name: str, given: str) -> str:
    """Give a piece in words; what stands for dwell goes by its name."""
    words = _PIECES.get(name, name)
    return words if given == "dwell" else words.replace("dwell", "flags")


def name_placebo(name: str, given: str) -> str:
    """Say what a placebo keeps beyond the one above it; the verdict's has a star."""
    words = _PLACEBOS.get(name, name)
    words = words if given == "dwell" else words.replace("dwell", "flags")
    return f"{words} *" if name == PRIMARY_PLACEBO else words


def lifts_of(audit: Audit, outcome: str) -> list[Lift]:
    """Give the lifts of an outcome, a head each."""
    return [one for one in audit.lifts if one.outcome == outcome]
