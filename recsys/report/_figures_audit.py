"""Figures of the audit: the ladder as one bar, lifts and their pieces, segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.report._format import (
    Write,
    format_count,
    format_points,
    format_probability,
    format_share,
    format_short,
    format_text,
)
from recsys.report._parts import Figure, tabulate
from recsys.report._rows import draw_intervals, name_rows
from recsys.report._svg import BAND, FIRST, INK, LINE, PAPER, QUIET, SECOND, canvas, short, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

_RUNGS: dict[str, tuple[str, Write]] = {
    "rung": ("rung", format_text),
    "inputs": ("inputs", format_text),
    "explained": ("explained", format_share),
    "low": ("95 % from", format_share),
    "high": ("to", format_share),
    "increment": ("beyond the one below, NE points", format_points),
    "increment_low": ("95 % from", format_points),
    "increment_high": ("to", format_points),
    "bits_left": ("bits left in a press", format_short),
}
_LIFTS: dict[str, tuple[str, Write]] = {
    "label": ("row", format_text),
    "head": ("head", format_text),
    "value": ("NE points", format_points),
    "low": ("95 % from", format_points),
    "high": ("to", format_points),
    "lower": ("lower bound", format_points),
    "upper": ("upper bound", format_points),
}
_SEGMENTS: dict[str, tuple[str, Write]] = {
    "segment": ("segment", format_text),
    "exposures": ("exposures", format_count),
    "users": ("users", format_count),
    "lift": ("lift, NE points", format_points),
    "low": ("95 % from", format_points),
    "high": ("to", format_points),
    "shrunk": ("lift, shrunk", format_points),
    "p_value": ("p", format_probability),
    "marked": ("marked", lambda mark: "yes *" if mark else "no"),
}
_PARTS = {"placebo": "Real likes over placebo likes that keep", "piece": "Pieces of past likes"}
#: How the rungs of the bar are filled.
_FILLS: dict[str, dict[str, Any]] = {
    "R1": {"facecolor": FIRST},
    "R2": {"facecolor": BAND},
    "R3": {"facecolor": QUIET},
    "R4": {"facecolor": SECOND},
    "R5": {"facecolor": "none", "edgecolor": SECOND, "hatch": "////"},
}
_REST: dict[str, Any] = {"facecolor": "none", "edgecolor": QUIET}
_LOST: dict[str, Any] = {"facecolor": "none", "edgecolor": INK, "hatch": "xxxx"}


def draw_explained(ladder: pl.DataFrame) -> Figure:
    """Draw the ladder as one stacked bar, from nothing known to every like known.

    Parameters
    ----------
    ladder : polars.DataFrame
        A row a rung: `rung`, `inputs`, `explained`, `low`, `high`, `increment`, `increment_low`, `increment_high`,
        `bits_left`; null where something is not estimable.

    Returns
    -------
    Figure

    """
    name, title = "ladder", "How much of a like is explained, by what is known"
    steps = ladder.filter(pl.col("rung").is_in(list(_FILLS)) & pl.col("explained").is_not_null()).to_dicts()
    alt = "One bar from 0 to all of the uncertainty about a like. Explained up to each rung: " + " ".join(
        f"{row['rung']} ({row['inputs']}): {format_share(row['explained'])}." for row in steps
    )
    with canvas(1.4 + 0.2 * len(steps)) as drawn:
        axes = drawn.add_subplot()
        handles = _stack(axes, steps)
        axes.set_xlim(min([0.0, *(1.1 * row["explained"] for row in steps)]), 1)
        axes.set_ylim(-0.75, 0.5)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_xlabel("share of the uncertainty about a like")
        drawn.legend(handles=handles, loc="outside lower left", borderaxespad=0)
        svg = to_svg(drawn, name, title, alt)
    return Figure(name, title, alt, _say_bar(steps), svg, (tabulate(ladder, title, _RUNGS),))


def _stack(axes: Axes, steps: list[dict[str, Any]]) -> list[Patch]:
    """Stack what each rung reaches beyond all before it; what one loses stands beneath, where it is lost."""
    from matplotlib.patches import Patch

    handles, top, last = [], 0.0, 0.0
    for row in steps:
        rung, reached = row["rung"], row["explained"]
        gained = f"{100 * (reached - last):+.1f} %"
        bound = ", upper bound" if rung == "R5" else ""
        look = _FILLS[rung] if reached >= last else _LOST
        if reached < last:
            axes.barh(-0.55, last - reached, 0.2, left=reached, **_LOST)
        if reached > top:
            axes.barh(0, reached - top, 0.7, left=top, **{"edgecolor": PAPER, **_FILLS[rung]})
        handles.append(Patch(label=f"{rung} {short(row['inputs'], 38)}{bound}: {gained}", **look))
        top, last = max(top, reached), reached
    axes.barh(0, 1 - top, 0.7, left=top, **_REST)
    return [*handles, Patch(label=f"not explained: {100 * (1 - top):.1f} %", **_REST)]


def _say_bar(steps: list[dict[str, Any]]) -> str:
    reached = [0.0, *(row["explained"] for row in steps)]
    lost = [row["rung"] for row, before in zip(steps, reached, strict=False) if row["explained"] < before]
    said = (
        "R1 never saw the user like anything. R5 also sees how long this very item was watched: an upper bound, since "
        "viewing goes on after the press. What these models do not explain, others may."
    )
    return said + (
        f" {', '.join(lost)} explained less than the rung before: crossed, beneath the bar." if lost else ""
    )


def draw_lift(rows: pl.DataFrame, name: str, outcome: str, margin: float | None) -> Figure:
    """Draw the lift of one outcome over each placebo, and its pieces, under every head.

    Parameters
    ----------
    rows : polars.DataFrame
        `group` ("placebo" or "piece"), `label`, `head`, and `value`, `low`, `high`, `lower`, `upper` in shares; heads
        within labels, null where something is not estimable.
    name : str
    outcome : str
    margin : float or None
        Of the verdict, in shares; None where there is none.

    Returns
    -------
    Figure

    """
    title = f"Like lift on {outcome}, and what it consists of"
    heads = rows["head"].unique(maintain_order=True).to_list()
    parts = [part for part in rows.partition_by("group", maintain_order=True) if len(part)]
    alt = f"Lift in NE points with 95 % intervals, under {' and '.join(heads)}. " + " ".join(
        f"{row['label']}, {row['head']}: {format_points(row['value'])}." for row in rows.to_dicts()
    )
    places = [part["label"].n_unique() for part in parts]
    with canvas(1.4 + 0.34 * sum(places)) as drawn:
        below = drawn.subplots(len(parts), 1, sharex=True, squeeze=False, height_ratios=places)[:, 0]
        for axes, part in zip(below, parts, strict=True):
            _draw_part(axes, part, heads, margin)
        below[-1].set_xlabel("NE points (above 0 likes help)")
        _name_heads(drawn, heads)
        svg = to_svg(drawn, name, title, alt)
    return Figure(name, title, alt, _say_lift_figure(margin), svg, (tabulate(rows, title, _LIFTS),))


def _draw_part(axes: Axes, part: pl.DataFrame, heads: list[str], margin: float | None) -> None:
    labels = part["label"].unique(maintain_order=True).to_list()
    axes.axvline(0, color=INK, linewidth=0.9)
    if margin is not None:
        axes.axvline(margin, color=QUIET, linewidth=0.9, linestyle="--")
    for number, head in enumerate(heads):
        rows = pl.DataFrame({"label": labels}).join(part.filter(head=head), on="label", how="left")
        shift = 0.3 * (number - (len(heads) - 1) / 2)
        draw_intervals(axes, rows, "value", ("low", "high"), [number % 2 == 1] * len(rows), shift)
    name_rows(axes, labels)
    axes.set_title(_PARTS[part["group"][0]], loc="left", fontsize=9.5)
    _in_points(axes)


def _in_points(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")


def _name_heads(drawn: Any, heads: list[str]) -> None:
    from matplotlib.lines import Line2D

    looks: list[dict[str, Any]] = [
        {"marker": "o", "color": FIRST, "markerfacecolor": "none"},
        {"marker": "s", "color": SECOND},
    ]
    handles = [
        Line2D([], [], linestyle="none", markersize=5, label=short(head), **looks[number % 2])
        for number, head in enumerate(heads)
    ]
    drawn.legend(handles=handles, loc="outside upper left", ncols=len(heads), borderaxespad=0)


def _say_lift_figure(margin: float | None) -> str:
    said = (
        "Each placebo keeps what the ones above it keep, too. The star marks the lift that the verdict is on: it is "
        "crowd and taste together. Capacity, dwell echo and habit are what likes bring without saying who likes what. "
        "Whiskers are two-sided 95 % intervals; the table also has the one-sided 95 % bounds."
    )
    return said if margin is None else f"{said} The dashed line is the margin, {100 * margin:g} NE points."


def draw_lift_segments(segments: pl.DataFrame, name: str, title: str) -> Figure:
    """Draw the lift of the segments of one kind.

    Parameters
    ----------
    segments : polars.DataFrame
        Rows of one kind of `Audit.segments`, null where something is not estimable.
    name, title : str

    Returns
    -------
    Figure

    """
    marked = segments.filter("marked").to_dicts()
    alt = f"Like lift of {len(segments)} segments with 95 % intervals, in NE points. " + (
        "Marked: " + "; ".join(f"{row['segment']}, {format_points(row['lift'])}" for row in marked)
        if marked
        else "None is marked."
    )
    with canvas(0.9 + 0.27 * len(segments)) as drawn:
        axes = drawn.add_subplot()
        axes.axvline(0, color=INK, linewidth=0.9)
        draw_intervals(axes, segments, "lift", ("low", "high"), segments["marked"].to_list())
        named = segments.select("segment", "marked").rows()
        name_rows(axes, [f"{segment} *" if star else str(segment) for segment, star in named])
        axes.grid(axis="y", color=LINE)
        _in_points(axes)
        axes.set_xlabel("like lift, NE points")
        svg = to_svg(drawn, name, title, alt)
    note = "Stars and filled squares are marked." if marked else "No segment is marked."
    return Figure(name, title, alt, note, svg, (tabulate(segments, title, _SEGMENTS),))
