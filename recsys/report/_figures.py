"""One function a figure: a frame in, a drawing and its table out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.report._format import (
    format_bias,
    format_count,
    format_number,
    format_share,
    format_text,
)
from recsys.report._parts import Figure, tabulate
from recsys.report._svg import BAND, FIRST, INK, LINE, QUIET, SECOND, canvas, short, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS: dict[str, Any] = {"linestyle": "none", "capsize": 2.5, "elinewidth": 1.3, "markersize": 5}


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
    blocks = {
        "forecast_low": ("forecast from", format_share),
        "forecast_high": ("to", format_share),
        "forecast_mean": ("mean forecast", format_share),
        "recalibrated": ("share liked", format_share),
        "rows": ("exposures", format_count),
    }
    limits = {
        "forecast": ("forecast", format_share),
        "low": ("lowest by chance", format_share),
        "high": ("highest by chance", format_share),
    }
    tables = (
        tabulate(curve, "Share liked by block of forecasts", blocks),
        tabulate(band, "Band of chance, 95 %", limits),
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
    columns = {
        "low": ("forecast from", format_share),
        "high": ("to below", format_share),
        "liked": ("liked", format_count),
        "unliked": ("not liked", format_count),
    }
    note = "Bins are tenths of a decade; the two axes of counts differ."
    return Figure(name, title, alt, note, svg, (tabulate(bins, "Exposures by forecast", columns),))


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
        _intervals(axes, models, "value", ("low", "high"), [name == 0 for name in range(len(models))])
        _name_rows(axes, models["model"].to_list(), width=34)
        axes.set_xlabel("normalised entropy (lower is better)")
        svg = to_svg(drawn, name, title, alt)
    columns = {
        "model": ("model", format_text),
        "value": ("NE", format_number),
        "low": ("95 % from", format_number),
        "high": ("to", format_number),
        "gain": ("NE above ours", _signed),
        "gain_low": ("95 % from", _signed),
        "gain_high": ("to", _signed),
    }
    note = (
        "The dashed line is a forecast that knows the like rate only. The intervals say how sure each figure "
        "is by itself. Models are compared by the paired difference on the same exposures, in the table: it "
        "is far surer."
    )
    return Figure(name, title, alt, note, svg, (tabulate(models, "Normalised entropy (NE)", columns),))


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
        _intervals(
            axes, _as_ratios(segments), "bias", ("bias_low", "bias_high"), segments["marked"].to_list()
        )
        names = segments.select("segment", "marked").rows()
        _name_rows(axes, [f"{segment} *" if star else segment for segment, star in names])
        axes.set_xlabel("likes forecast against likes seen")
        svg = to_svg(drawn, name, title, alt)
    columns = {
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
    note = "Stars and filled squares are marked." if len(marked) else "No segment is marked."
    return Figure(name, title, alt, note, svg, (tabulate(segments, title, columns),))


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
        _intervals(axes, _as_ratios(days), "bias", ("bias_low", "bias_high"), [False] * len(days))
        _name_rows(axes, [str(day) for day in days["day"]])
        axes.set_xlabel("likes forecast against likes seen")
        svg = to_svg(drawn, name, title, alt)
    columns = {
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
    note = "A trend says that the forecast goes stale within the window."
    return Figure(name, title, alt, note, svg, (tabulate(days, title, columns),))


def _intervals(axes: Axes, rows: pl.DataFrame, value: str, ends: tuple[str, str], filled: list[bool]) -> None:
    """Draw a point a row, top down, with its interval where it has one."""
    for place, (row, full) in enumerate(zip(rows.to_dicts(), filled, strict=True)):
        middle, low, high = (row[name] for name in (value, *ends))
        if middle is None:
            continue
        width = None if low is None or high is None else [[max(0, middle - low)], [max(0, high - middle)]]
        look: dict[str, Any] = (
            {"marker": "s", "color": SECOND} if full else {"marker": "o", "color": FIRST, "mfc": "none"}
        )
        axes.errorbar([middle], [place], xerr=width, **_LABELS, **look)


def _name_rows(axes: Axes, names: list[str], width: int = 24) -> None:
    axes.set_yticks(range(len(names)), [short(name, width) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color=LINE)
    axes.set_axisbelow(True)


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
    if reach > 3:
        ticks = [tick for tick in ticks if tick not in (1.5, 1 / 1.5)]
    axes.set_xticks(ticks, [f"{100 * (tick - 1):+.0f} %" if tick != 1 else "0" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color=INK, linewidth=0.9)


def _percent(axis: Any) -> None:
    axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")


def _signed(number: float | None) -> str:
    return "" if number is None else f"{number:+.4f}"
