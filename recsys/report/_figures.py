"""One function a figure: a frame in, a drawing and its table out."""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys.report._format import format_count, format_number, format_share, format_signed, format_text
from recsys.report._parts import Figure, tabulate
from recsys.report._rows import draw_intervals, name_rows
from recsys.report._svg import BAND, FIRST, QUIET, SECOND, canvas, to_svg

_BLOCKS = {
    "forecast_low": ("forecast from", format_share),
    "forecast_high": ("to", format_share),
    "forecast_mean": ("mean forecast", format_share),
    "recalibrated": ("share liked", format_share),
    "rows": ("exposures", format_count),
}
_LIMITS = {
    "forecast": ("forecast", format_share),
    "low": ("lowest by chance", format_share),
    "high": ("highest by chance", format_share),
}
_BINS = {
    "low": ("forecast from", format_share),
    "high": ("to below", format_share),
    "liked": ("liked", format_count),
    "unliked": ("not liked", format_count),
}
_MODELS = {
    "model": ("model", format_text),
    "value": ("NE", format_number),
    "low": ("95 % from", format_number),
    "high": ("to", format_number),
    "gain": ("NE above ours", format_signed),
    "gain_low": ("95 % from", format_signed),
    "gain_high": ("to", format_signed),
}


def draw_reliability(curve: pl.DataFrame, band: pl.DataFrame, base_rate: float) -> Figure:
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
    Figure

    """
    name, title = "reliability", "Share liked against the forecast"
    alt = (
        f"Line of the share liked over {len(curve)} blocks of forecasts from {format_share(band['forecast'][0])} "
        f"to {format_share(band['forecast'][-1])}, over the band in which 95 % of lines would lie by chance "
        "if the forecast were exact. The table has every block."
    )
    with canvas(3.5) as drawn:
        axes = drawn.add_subplot(xscale="log", yscale="log")
        floor = base_rate / 50
        low, high = band["low"].clip(lower_bound=floor), band["high"].clip(lower_bound=floor)
        axes.fill_between(band["forecast"], low, high, color=BAND, linewidth=0, label="chance alone (95 %)")
        ends = band["forecast"].to_numpy()[[0, -1]]
        axes.plot(ends, ends, color=QUIET, linewidth=0.9, linestyle="--", label="exact")
        steps = curve.filter(pl.col("recalibrated") > floor)
        axes.plot(
            steps["forecast_mean"], steps["recalibrated"], color=SECOND, marker=".", lw=1.3, label="observed"
        )
        axes.set_ylim(bottom=floor)
        _percent(axes.xaxis)
        _percent(axes.yaxis)
        axes.set_xlabel("forecast (will_like)")
        axes.set_ylabel("share liked")
        axes.legend(loc="upper left")
        svg = to_svg(drawn, name, title, alt)
    note = (
        "Where the line stays in the band, the forecast is as right as it can be shown to be. Both axes are "
        f"logarithmic; what lies below {format_share(floor)} is left out of the drawing."
    )
    tables = (
        tabulate(curve, "Share liked by block of forecasts", _BLOCKS),
        tabulate(band, "Band of chance, 95 %", _LIMITS),
    )
    return Figure(name, title, alt, note, svg, tables)


def draw_distribution(bins: pl.DataFrame) -> Figure:
    """Draw how many liked and unliked exposures got which forecast.

    Parameters
    ----------
    bins : polars.DataFrame
        `low`, `high`, `liked`, `unliked`.

    Returns
    -------
    Figure

    """
    name, title = "distribution", "How forecasts are spread"
    ends = f"{format_share(bins['low'][0])} to {format_share(bins['high'][-1])}"
    alt = (
        f"Two histograms over forecasts from {ends}: exposures that were liked above, those that were not "
        "below. The further apart, the better the forecast tells them apart."
    )
    with canvas(3.4) as drawn:
        edges = [*bins["low"], bins["high"][-1]]
        above, below = drawn.subplots(2, 1, sharex=True)
        for axes, kind, colour in ((above, "liked", SECOND), (below, "unliked", FIRST)):
            axes.stairs(bins[kind], edges, fill=True, color=colour)
            axes.set_xscale("log")
            axes.set_ylabel("exposures")
            axes.set_title(kind, loc="left", fontsize=9.5)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _percent(below.xaxis)
        below.set_xlabel("forecast (will_like)")
        svg = to_svg(drawn, name, title, alt)
    note = "Bins are tenths of a decade; the two axes of counts differ."
    return Figure(name, title, alt, note, svg, (tabulate(bins, "Exposures by forecast", _BINS),))


def draw_ladder(models: pl.DataFrame) -> Figure:
    """Draw the normalised entropy of each model.

    Parameters
    ----------
    models : polars.DataFrame
        `model`, `value`, `low`, `high`; `gain`, `gain_low`, `gain_high`, of the first model over it, paired.

    Returns
    -------
    Figure

    """
    name, title = "ladder", "Normalised entropy of the model and its baselines"
    best = models.row(0, named=True)
    alt = (
        f"One point a model with its 95 % interval. {best['model']}: {format_number(best['value'])}. "
        + " ".join(f"{row['model']}: {format_number(row['value'])}." for row in models[1:].to_dicts())
    )
    with canvas(1.0 + 0.34 * len(models)) as drawn:
        axes = drawn.add_subplot()
        axes.axvline(1, color=QUIET, linewidth=0.9, linestyle="--")
        draw_intervals(axes, models, "value", ("low", "high"), [name == 0 for name in range(len(models))])
        name_rows(axes, models["model"].to_list(), width=34)
        axes.set_xlabel("normalised entropy (lower is better)")
        svg = to_svg(drawn, name, title, alt)
    note = (
        "The dashed line is a forecast that knows the like rate only. The intervals say how sure each figure "
        "is by itself. Models are compared by the paired difference on the same exposures, in the table: it "
        "is far surer."
    )
    return Figure(name, title, alt, note, svg, (tabulate(models, "Normalised entropy (NE)", _MODELS),))


def _percent(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
