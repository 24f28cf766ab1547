"""How a knob is declared: its neutral value, its range and its meaning, in one line beside its name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import MISSING, Field, dataclass, field
from typing import Any

from recsys.errors import UsageError, nearest


@dataclass(frozen=True)
class Knob:
    """What a field of a world may hold.

    Attributes
    ----------
    kind : type
        `int`, `float` or `str`.
    help : str
        What it does, in the words of the command line.
    neutral : int, float, str, or None
        The value at which it moves nothing; None where there is no such value, and one must be given.
    low, high : float
        Bounds of a number, inside the range.
    strictly : bool
        Whether a number must lie strictly between its bounds.
    choices : tuple of str
        What a text may be.
    """

    kind: type
    help: str
    neutral: Any
    low: float = 0.0
    high: float = math.inf
    strictly: bool = False
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Refuse a value out of range.

        Parameters
        ----------
        name : str
            The field's.
        value : Any

        Raises
        ------
        UsageError
            Naming the knob, what it may be, and the value.
        """
        if self.kind is str:
            if value not in self.choices:
                raise UsageError(f"{name} cannot be {value!r}: {nearest(str(value), self.choices)}")
            return
        if self.kind is int:
            fits = isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high
        else:
            real = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            fits = real and self.low <= value <= self.high
            fits = fits and not (self.strictly and value in (self.low, self.high))
        if not fits:
            raise UsageError(f"{name} must be {self._range()}, got {value!r}")

    def _range(self) -> str:
        noun = "a whole number" if self.kind is int else "a finite number"
        low, high = f"{self.low:g}", f"{self.high:,.10g}"
        if self.strictly:
            return f"{noun} above {low}" + ("" if self.high == math.inf else f" and below {high}")
        if self.low == -math.inf:
            return noun
        if self.high == math.inf:
            return f"{noun} of at least {low}"
        return f"{noun} from {low} to {high}"


def whole(help: str, least: int = 1, most: int = 2**31 - 1, neutral: int | None = None) -> Any:
    """Declare a whole number; without a neutral value it must be given."""
    return _declare(Knob(int, help, neutral, least, most))


def number(
    neutral: float, help: str, low: float = 0.0, high: float = math.inf, strictly: bool = False
) -> Any:
    """Declare a real number."""
    return _declare(Knob(float, help, neutral, low, high, strictly))


def share(help: str) -> Any:
    """Declare a share from 0 to 1, neutral at 0."""
    return number(0.0, help, high=1.0)


def choice(neutral: str, choices: Iterable[str], help: str) -> Any:
    """Declare a choice between names."""
    return _declare(Knob(str, help, neutral, choices=tuple(choices)))


def _declare(knob: Knob) -> Any:
    return field(default=MISSING if knob.neutral is None else knob.neutral, metadata={"knob": knob})


def knob_of(declared: Field[Any]) -> Knob:
    """Read the declaration back from a dataclass field."""
    knob: Knob = declared.metadata["knob"]
    return knob
