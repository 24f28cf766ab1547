"""Figures as people read them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from recsys.inference import Estimate

Write = Callable[[Any], str]
UNKNOWN = "not estimable"
_PERCENT = "\N{NO-BREAK SPACE}%"


def format_estimate(figure: Estimate, digits: int = 3) -> str:
    """Write a figure with its interval.

    Parameters
    ----------
    figure : Estimate
    digits : int

    Returns
    -------
    str

    Examples
    --------
    >>> format_estimate(Estimate(0.7104, 0.6864, 0.7350))
    '0.710 (0.686 to 0.735)'
    >>> format_estimate(Estimate(math.nan, math.nan, math.nan))
    'not estimable'

    """
    between = format_interval(figure, digits)
    return f"{format_value(figure, digits)} ({between})" if between else format_value(figure, digits)


def format_value(figure: Estimate, digits: int = 3) -> str:
    """Write a figure alone."""
    return f"{figure.value:.{digits}f}" if math.isfinite(figure.value) else UNKNOWN


def format_interval(figure: Estimate, digits: int = 3) -> str:
    """Write an interval alone; nothing where there is none."""
    ends = (figure.value, figure.low, figure.high)
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}" if all(map(math.isfinite, ends)) else ""


def format_instant(instant: datetime) -> str:
    """Write an instant to the second."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def format_count(count: float | None) -> str:
    """Write a whole number."""
    return UNKNOWN if count is None else f"{count:,.0f}"


def format_number(number: float | None) -> str:
    """Write a number to three digits."""
    return f"{number:.3f}" if number is not None and math.isfinite(number) else UNKNOWN


def format_share(share: float | None) -> str:
    """Write a share as percent, to three significant digits.

    Examples
    --------
    >>> print(format_share(0.00123), format_share(0.5), format_share(None))
    0.123\N{NO-BREAK SPACE}% 50\N{NO-BREAK SPACE}% not estimable
    """
    return f"{100 * share:.3g}{_PERCENT}" if share is not None and math.isfinite(share) else UNKNOWN


def format_bias(bias: float | None) -> str:
    """Write a bias as percent with its sign.

    Examples
    --------
    >>> print(format_bias(-0.0312), format_bias(13.4), format_bias(None))
    -3.1\N{NO-BREAK SPACE}% +1,340\N{NO-BREAK SPACE}% not estimable
    """
    if bias is None or not math.isfinite(bias):
        return UNKNOWN
    return f"{100 * bias:+,.{0 if abs(bias) >= 1 else 1}f}{_PERCENT}"


def format_text(value: Any) -> str:
    """Write anything as it is; nothing for None."""
    return "" if value is None else str(value)


def format_signed(number: float | None) -> str:
    """Write a difference with its sign; nothing for None."""
    return "" if number is None else f"{number:+.4f}"


def format_points(share: float | None, digits: int = 3) -> str:
    """Write a share of entropy in NE points with its sign.

    Examples
    --------
    >>> print(format_points(0.0123), format_points(-0.0004, 2), format_points(None))
    +1.230 -0.04 not estimable
    """
    return f"{100 * share:+.{digits}f}" if share is not None and math.isfinite(share) else UNKNOWN


def format_probability(p_value: float | None) -> str:
    """Write a p-value.

    Examples
    --------
    >>> print(format_probability(0.00002), format_probability(0.0412))
    < 0.001 0.041
    """
    return "< 0.001" if p_value is not None and 0 <= p_value < 0.001 else format_number(p_value)


def format_short(number: float | None) -> str:
    """Write a number to three significant digits.

    Examples
    --------
    >>> print(format_short(0.01734), format_short(12.0))
    0.0173 12
    """
    return f"{number:.3g}" if number is not None and math.isfinite(number) else UNKNOWN
