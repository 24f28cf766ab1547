"""Curves of the audit: what a dose of likes is worth, and how many exposures do the work of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from recsys.inference import Estimate
from recsys.report._format import Write, format_count, format_points, format_share, format_short, format_value
from recsys.report._parts import Figure, tabulate
from recsys.report._svg import FIRST, INK, LINE, QUIET, SECOND, canvas, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = {
    "first": ("What the first likes of a user are worth", "first likes kept of each user", format_short),
    "share": ("What a share of all likes is worth", "share of all likes kept, at random", format_share),
}
_AGAINST = {
    "first": "the same users without a like of their own",
    "share": "behaviour alone, which reads no likes",
}


def _entropy(value: float | None) -> str:
    return format_value(Estimate(float("nan") if value is None else value, 0, 0), 4)


_CURVE = {
    "share": ("share of the behaviour", format_share),
    "with_likes": ("NE with all likes", _entropy),
    "without_likes": ("NE of all behaviour, no likes", _entropy),
}


def draw_dose(doses: pl.DataFrame, kind: str) -> Figure:
    """Draw the lift over no likes against how many likes were left.

    Parameters
    ----------
    doses : polars.DataFrame
        `dose`, `lift`, `low`, `high` (shares), `users`, `likes`, of one kind; fewest likes first.
    kind : str
        "first" or "share".

    Returns
    -------
    Figure

    """
    title, label, write = _KINDS[kind]
    name = f"dose-{kind}"
    alt = f"Lift over {_AGAINST[kind]}, in NE points, with 95 % intervals. " + " ".join(
        f"{write(row['dose'])}: {format_points(row['lift'])}." for row in doses.to_dicts()
    )
    same = doses["users"].n_unique() == 1
    with canvas(2.8) as drawn:
        axes = drawn.add_subplot()
        axes.axhline(0, color=INK, linewidth=0.9)
        _draw_doses(axes, doses, joined=same)
        axes.set_xticks(range(len(doses)), [write(dose) for dose in doses["dose"]])
        axes.set_xlim(-0.5, len(doses) - 0.5)
        axes.set_xlabel(label)
        axes.set_ylabel("lift, NE points")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
        svg = to_svg(drawn, name, title, alt)
    note = (
        f"Each is against {_AGAINST[kind]}, on the same rows; doses stand evenly, whatever lies between them."
        + ("" if same else " Users differ between doses, so that points are not joined: each has its own.")
    )
    return Figure(name, title, alt, note, svg, (tabulate(doses, title, _dose_columns(kind)),))


def _dose_columns(kind: str) -> dict[str, tuple[str, Write]]:
    _, label, write = _KINDS[kind]
    return {
        "dose": (label, write),
        "lift": ("lift, NE points", format_points),
        "low": ("95 % from", format_points),
        "high": ("to", format_points),
        "users": ("users", format_count),
        "likes": ("likes left", format_count),
    }


def _draw_doses(axes: Axes, doses: pl.DataFrame, joined: bool) -> None:
    middles = doses["lift"].to_list()
    for place, (middle, low, high) in enumerate(doses.select("lift", "low", "high").rows()):
        width = None if low is None or high is None else [[max(0, middle - low)], [max(0, high - middle)]]
        axes.errorbar([place], [middle], yerr=width, color=FIRST, marker="o", mfc="none", ms=5, capsize=2.5)
    if joined:
        axes.plot(range(len(middles)), middles, color=FIRST, linewidth=1.0)
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)


def draw_exchange(curve: pl.DataFrame) -> Figure:
    """Draw how little behaviour all likes can make up for.

    Parameters
    ----------
    curve : polars.DataFrame
        `share`, `with_likes`, `without_likes`, ascending; null where something is not estimable.

    Returns
    -------
    Figure

    """
    name, title = "exchange", "Likes in exchange for behaviour"
    (bar,) = curve["without_likes"].drop_nulls().to_list()[:1] or [None]
    alt = (
        f"Normalised entropy of all likes with a share of the behaviour, against {_entropy(bar)} of all "
        "behaviour without likes. "
    ) + " ".join(f"{format_share(row['share'])}: {_entropy(row['with_likes'])}." for row in curve.to_dicts())
    with canvas(3.0) as drawn:
        axes = drawn.add_subplot()
        shares, level = curve["share"], curve["without_likes"]
        axes.plot(
            shares, curve["with_likes"], color=SECOND, marker="s", ms=4, label="some behaviour, all likes"
        )
        axes.plot(shares, level, color=QUIET, linestyle="--", label="all behaviour, no likes")
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        axes.set_xlabel("share of the behaviour that is kept")
        # Shares that differ by little must not be written as one plus tiny ones.
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_ylabel("NE (lower is better)")
        axes.grid(axis="y", color=LINE)
        drawn.legend(loc="outside upper left", borderaxespad=0)
        svg = to_svg(drawn, name, title, alt)
    note = (
        "Where the lines cross, all likes do the work of the behaviour that is missing. Read between points only; "
        "where they do not cross, there is no rate."
    )
    return Figure(name, title, alt, note, svg, (tabulate(curve, title, _CURVE),))
