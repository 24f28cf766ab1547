"""Figures of bias, by segment and by day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from recsys.report._format import format_bias, format_count, format_number, format_share, format_text
from recsys.report._parts import Figure, tabulate
from recsys.report._rows import draw_intervals, name_rows
from recsys.report._svg import INK, canvas, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SEGMENTS = {
    "segment": ("segment", format_text),
    "exposures": ("exposures", format_count),
    "likes": ("likes", format_count),
    "users": ("users", format_count),
    "like_rate": ("like rate", format_share),
    "will_like": ("mean forecast", format_share),
    "normalized_entropy": ("NE", format_number),
    "bias": ("bias", format_bias),
    "bias_low": ("95 % from", format_bias),
    "bias_high": ("to", format_bias),
    "bias_shrunk": ("bias, shrunk", format_bias),
    "p_value": ("p", format_number),
    "marked": ("marked", lambda mark: "yes *" if mark else "no"),
}
_DAYS = {
    "day": ("day (UTC)", format_text),
    "exposures": ("exposures", format_count),
    "likes": ("likes", format_count),
    "users": ("users", format_count),
    "like_rate": ("like rate", format_share),
    "will_like": ("mean forecast", format_share),
    "bias": ("bias", format_bias),
    "bias_low": ("95 % from", format_bias),
    "bias_high": ("to", format_bias),
}


def draw_segments(segments: pl.DataFrame, name: str, title: str) -> Figure:
    """Draw the bias of the segments of one kind.

    Parameters
    ----------
    segments : polars.DataFrame
        Rows of one kind, as `recsys.evaluation.score_segments` gives them.
    name, title : str

    Returns
    -------
    Figure

    """
    marked = segments.filter("marked")
    alt = f"Bias of {len(segments)} segments with 95 % intervals. " + (
        "Marked: " + "; ".join(f"{row['segment']}, {format_bias(row['bias'])}" for row in marked.to_dicts())
        if len(marked)
        else "None is marked."
    )
    with canvas(0.9 + 0.25 * len(segments)) as drawn:
        axes = drawn.add_subplot()
        _bias_axis(axes, segments)
        draw_intervals(
            axes, _as_ratios(segments), "bias", ("bias_low", "bias_high"), segments["marked"].to_list()
        )
        names = segments.select("segment", "marked").rows()
        name_rows(axes, [f"{segment} *" if star else segment for segment, star in names])
        axes.set_xlabel("likes forecast against likes seen")
        svg = to_svg(drawn, name, title, alt)
    note = "Stars and filled squares are marked." if len(marked) else "No segment is marked."
    return Figure(name, title, alt, note, svg, (tabulate(segments, title, _SEGMENTS),))


def draw_days(days: pl.DataFrame) -> Figure:
    """Draw calibration over the days of the window.

    Parameters
    ----------
    days : polars.DataFrame
        As `recsys.evaluation.score_days` gives it.

    Returns
    -------
    Figure

    """
    name, title = "days", "Bias by day of the test window"
    said = [f"{row['day']}: {format_bias(row['bias'])}." for row in days.to_dicts()]
    alt = f"Bias of {len(days)} days (UTC) with 95 % intervals. " + " ".join(said[:31])
    with canvas(0.9 + 0.25 * len(days)) as drawn:
        axes = drawn.add_subplot()
        _bias_axis(axes, days)
        draw_intervals(axes, _as_ratios(days), "bias", ("bias_low", "bias_high"), [False] * len(days))
        name_rows(axes, [str(day) for day in days["day"]])
        axes.set_xlabel("likes forecast against likes seen")
        svg = to_svg(drawn, name, title, alt)
    note = "A trend says that the forecast goes stale within the window."
    return Figure(name, title, alt, note, svg, (tabulate(days, title, _DAYS),))


def _as_ratios(rows: pl.DataFrame) -> pl.DataFrame:
    # A logarithmic axis has no place for 0, the ratio of a bias of -100 %.
    return rows.with_columns((pl.col("bias", "bias_low", "bias_high") + 1).clip(lower_bound=1e-6))


def _bias_axis(axes: Axes, rows: pl.DataFrame) -> None:
    """Lay an axis of ratios: twice as many is as far as half as many; wild intervals run off its edge."""
    points = (_as_ratios(rows)["bias"].drop_nulls()).to_list()
    reach = max([2.0, *(1.3 * max(point, 1 / point) for point in points)])
    reach = min(reach, 8.0)
    axes.set_xscale("log")
    axes.set_xlim(1 / reach, reach)
    ticks = [tick for tick in (1 / 8, 1 / 4, 1 / 2, 1 / 1.5, 1, 1.5, 2, 4, 8) if 1 / reach <= tick <= reach]
    if reach > 2.1:
        ticks = [tick for tick in ticks if tick not in (1.5, 1 / 1.5)]
    axes.set_xticks(ticks, [f"{100 * (tick - 1):+.0f} %" if tick != 1 else "0" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color=INK, linewidth=0.9)
