"""How a knob is declared: its default, its range and its meaning, in one line beside its name."""

from __future__ import annotations

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
    default : int, float, str, or None
        None where one must be given.
    low, high : int or float
        Bounds of a number, inside the range.
    choices : tuple of str
        What a text may be.
    """

    kind: type
    help: str
    default: Any
    low: float = 0
    high: float = 1
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
        elif not (self._is_number(value) and self.low <= value <= self.high):
            noun = "a whole number" if self.kind is int else "a number"
            raise UsageError(f"{name} must be {noun} from {self.low:,} to {self.high:,}, got {value!r}")

    def _is_number(self, value: Any) -> bool:
        fits = int if self.kind is int else int | float
        return isinstance(value, fits) and not isinstance(value, bool)


def whole(help: str, low: int, high: int, default: int | None = None) -> Any:
    """Declare a whole number.

    Parameters
    ----------
    help : str
    low, high : int
        Inside the range.
    default : int, optional
        Without it the field must be given.

    Returns
    -------
    dataclasses.Field
    """
    return _declare(Knob(int, help, default, low, high))


def number(help: str, low: float, high: float, default: float) -> Any:
    """Declare a real number.

    Parameters
    ----------
    help : str
    low, high : float
        Inside the range.
    default : float

    Returns
    -------
    dataclasses.Field
    """
    return _declare(Knob(float, help, default, low, high))


def choice(help: str, choices: Iterable[str], default: str) -> Any:
    """Declare a choice between names.

    Parameters
    ----------
    help : str
    choices : iterable of str
    default : str

    Returns
    -------
    dataclasses.Field
    """
    return _declare(Knob(str, help, default, choices=tuple(choices)))


def knob_of(declared: Field[Any]) -> Knob:
    """Read the declaration back from a dataclass field.

    Parameters
    ----------
    declared : dataclasses.Field

    Returns
    -------
    Knob
    """
    knob: Knob = declared.metadata["knob"]
    return knob


def _declare(knob: Knob) -> Any:
    return field(default=MISSING if knob.default is None else knob.default, metadata={"knob": knob})
