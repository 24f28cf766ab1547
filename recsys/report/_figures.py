"""Figures as SVG with text kept as text."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
from markupsafe import Markup

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_reliability(curve: pl.DataFrame, band: pl.DataFrame, base_rate: float) -> Markup:
    """Draw the recalibrated rate against the forecast, over its null band.

    Parameters
    ----------
    curve : polars.DataFrame
        As `recsys.metrics.reliability_curve` gives it.
    band : polars.DataFrame
        As `recsys.metrics.reliability_null_band` gives it.
    base_rate : float
        Like rate of the rows.

    Returns
    -------
    markupsafe.Markup
        An SVG element without XML header.

    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 4.2), layout="constrained")
        axes = figure.add_subplot(xscale="log", yscale="log")
        floor = base_rate / 50
        low, high = band["low"].clip(lower_bound=floor), band["high"].clip(lower_bound=floor)
        axes.fill_between(
            band["forecast"], low, high, color="#9ec5e8", linewidth=0, label="chance alone (95 %)"
        )
        ends = band["forecast"].to_numpy()[[0, -1]]
        axes.plot(ends, ends, color="#777777", linewidth=0.8, linestyle="--", label="calibrated")
        steps = curve.filter(pl.col("recalibrated") > floor)
        axes.plot(
            steps["forecast_mean"],
            steps["recalibrated"],
            color="#b5431d",
            marker=".",
            linewidth=1.2,
            label="observed",
        )
        axes.set_xlabel("forecast: will_like")
        axes.set_ylabel("observed: share liked")
        axes.legend(frameon=False)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    svg = written.getvalue()
    # Drawn by matplotlib from numbers alone: no text of the user's is in it.
    return Markup(svg[svg.index("<svg") :])
