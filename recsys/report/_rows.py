"""Rows of points with intervals, as several figures have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.report._svg import FIRST, LINE, SECOND, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS: dict[str, Any] = {"linestyle": "none", "capsize": 2.5, "elinewidth": 1.3, "markersize": 5}


def draw_intervals(
    axes: Axes,
    rows: pl.DataFrame,
    value: str,
    ends: tuple[str, str],
    filled: list[bool],
    shift: float = 0.0,
) -> None:
    """Draw a point a row, top down and `shift` below its place, with its interval where it has one."""
    for place, (row, full) in enumerate(zip(rows.to_dicts(), filled, strict=True)):
        middle, low, high = (row[name] for name in (value, *ends))
        if middle is None:
            continue
        width = None if low is None or high is None else [[max(0, middle - low)], [max(0, high - middle)]]
        look: dict[str, Any] = (
            {"marker": "s", "color": SECOND} if full else {"marker": "o", "color": FIRST, "mfc": "none"}
        )
        axes.errorbar([middle], [place + shift], xerr=width, **_LABELS, **look)


def name_rows(axes: Axes, names: list[str], width: int = 24) -> None:
    """Name the rows of an axis, top down."""
    axes.set_yticks(range(len(names)), [short(name, width) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)
