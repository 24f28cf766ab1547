"""A figure and its interval."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where it cannot be estimated.

    Attributes
    ----------
    value : float
    low, high : float
        Ends of the two-sided 95 % interval, in the figure's unit.

    Examples
    --------
    >>> Estimate(0.71, 0.70, 0.72).as_dict()
    {'value': 0.71, 'low': 0.7, 'high': 0.72}
    >>> Estimate(0.71, math.nan, math.nan).as_dict()
    {'value': 0.71, 'low': None, 'high': None}
    """

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """Give the three numbers as JSON can hold them: what is not finite becomes None."""
        return {name: number if math.isfinite(number) else None for name, number in asdict(self).items()}
