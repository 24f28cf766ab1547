"""What the page says in words and in tables, section by section."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from recsys.evaluation import Evaluation
from recsys.inference import Estimate
from recsys.report._figures import (
    draw_days,
    draw_distribution,
    draw_ladder,
    draw_reliability,
    draw_segments,
)
from recsys.report._format import format_bias, format_count, format_number, format_share
from recsys.report._parts import Figure, Table, list_pairs

GAIN = "normalized_entropy_gain"
OURS = "recsys"
_MODELS = {
    "base_rate": "base rate",
    "item_rate": "item rate",
    "user_item_rate": "user and item rate",
    "all_rates": "all rates and counts, no factors",
    "like_als": "calibrated like-ALS alone",
}
_KINDS = {
    "forecast": "Tenths of the exposures by forecast",
    "activity": "Tenths of the exposures by how much the user was shown before",
    "popularity": "Tenths of the exposures by how often the item was shown before",
    "warmth": "Users and items never seen before, and the others",
    "creator": "Creators with the most exposures",
}
_ROWS = {
    "read": "read",
    "accepted": "accepted",
    "refused": "refused",
    "duplicates": "repeated, dropped",
    "unsettled": "too young for their like",
    "folded": "folded into an exposure",
    "likes_without_view": "likes without a view",
    "history_only": "for history only",
}


def name_model(name: str) -> str:
    """Give a model's name in words; its own where there are none."""
    return _MODELS.get(name, name)


def name_models(evaluation: Evaluation) -> dict[str, dict[str, Estimate]]:
    """Give every model's figures by its name in words, ours first."""
    baselines = {name_model(name): figures for name, figures in evaluation.baselines.items()}
    return {OURS: evaluation.metrics, **baselines}


def headline(evaluation: Evaluation) -> str:
    """Say the result in one sentence.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    str

    """
    entropy = evaluation.metrics["normalized_entropy"]
    verdict = "above" if evaluation.calibration.above_null_band else "not above"
    gone = [f"{100 * (1 - end):.1f} %" for end in (entropy.value, entropy.high, entropy.low)]
    return (
        f"{gone[0]} of the uncertainty about a like was gone before the exposure "
        f"(95 % interval {gone[1]} to {gone[2]}); "
        f"miscalibration is {verdict} what chance alone would show."
    )


def in_words(evaluation: Evaluation) -> list[str]:
    """Say what the figures mean to someone who does not work with them.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    list of str
        One sentence each.

    """
    return [*_say_lift(evaluation), *_say_bias(evaluation), *_say_best_baseline(evaluation)]


def _say_lift(evaluation: Evaluation) -> Iterator[str]:
    tenths = evaluation.segments.filter(kind="forecast")
    rate = evaluation.rows["likes"] / evaluation.rows["exposures"]
    if len(tenths) < 2:
        return
    top, bottom = tenths.row(-1, named=True), tenths.row(0, named=True)
    share = format_share(top["exposures"] / evaluation.rows["exposures"])
    yield (
        f"The exposures with the highest forecasts ({share} of all) "
        f"were liked {top['like_rate'] / rate:.1f} times as often as the average one, those with the lowest "
        f"{bottom['like_rate'] / rate:.2g} times."
    )


def _say_bias(evaluation: Evaluation) -> Iterator[str]:
    bias = evaluation.calibration.bias
    if not all(map(math.isfinite, (bias.value, bias.low, bias.high))):
        return
    amount, side = format_bias(abs(bias.value)).lstrip("+"), "more" if bias.value > 0 else "fewer"
    chance = "which chance alone could explain" if bias.low <= 0 <= bias.high else "more than chance explains"
    yield (
        f"All forecasts together expected {amount} {side} likes than came "
        f"(95 % interval {format_bias(bias.low)} to {format_bias(bias.high)}), {chance}."
    )


def _say_best_baseline(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.baselines:
        return
    name, figures = min(evaluation.baselines.items(), key=lambda item: item[1]["normalized_entropy"].value)
    gain = figures[GAIN]
    verdict = (
        "is better than" if gain.low > 0 else "is worse than" if gain.high < 0 else "cannot be told from"
    )
    yield (
        f"On the same exposures it {verdict} the best baseline ({name_model(name)}): the difference in "
        f"normalised entropy is {gain.value:.4f} (95 % interval {gain.low:.4f} to {gain.high:.4f})."
    )


def main_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Draw what every evaluation has.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    dict of str to Figure
        By name.

    """
    rate = evaluation.rows["likes"] / evaluation.rows["exposures"]
    figures = [
        draw_ladder(_ladder(evaluation)),
        draw_reliability(evaluation.reliability, evaluation.reliability_null, rate),
        draw_distribution(evaluation.distribution),
        draw_days(evaluation.days),
    ]
    return {figure.name: figure for figure in figures}


def _ladder(evaluation: Evaluation) -> pl.DataFrame:
    rows = []
    for name, figures in name_models(evaluation).items():
        entropy = figures["normalized_entropy"].as_dict()
        gain = {} if GAIN not in figures else figures[GAIN].as_dict()
        paired = {"gain": gain.get("value"), "gain_low": gain.get("low"), "gain_high": gain.get("high")}
        rows.append({"model": name, **entropy, **paired})
    kinds = dict.fromkeys(("gain", "gain_low", "gain_high"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=kinds)


def segment_figures(evaluation: Evaluation) -> list[Figure]:
    """Draw every kind of segment that has more than one.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    list of Figure

    """
    kinds = evaluation.segments.partition_by("kind", maintain_order=True)
    return [
        draw_segments(rows, f"segments-{number}", _name_kind(rows["kind"][0]))
        for number, rows in enumerate(kinds)
        if len(rows) > 1
    ]


def _name_kind(kind: str) -> str:
    return _KINDS.get(kind, f"Declared groups: {kind.removeprefix('group_')}")


def say_segments(evaluation: Evaluation) -> list[str]:
    """Name the segments that are marked, and the kinds that were not cut.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    list of str
        One sentence each.

    """
    found = evaluation.segments
    marked = found.filter("marked").to_dicts()
    named = "; ".join(
        f"{_name_kind(row['kind']).lower()}, {row['segment']}: {format_bias(row['bias'])}" for row in marked
    )
    said = [f"{len(marked)} of {len(found)} segments are marked" + (f": {named}." if marked else ".")]
    alone = found.filter(pl.len().over("kind") == 1).to_dicts()
    said += [f"{_name_kind(row['kind'])}: one segment only, {row['segment']!r}." for row in alone]
    absent = [name for name in _KINDS if name not in found["kind"]]
    said += [f"{_KINDS[name]}: not estimable, the log has no such column." for name in absent]
    return said


def profile_tables(profile: Mapping[str, Any]) -> list[Table]:
    """Write what a log holds, as `recsys check` shows it.

    Parameters
    ----------
    profile : mapping of str to value
        From `recsys.events.profile`.

    Returns
    -------
    list of Table

    """
    rows, reasons = profile["rows"], profile["reasons"]
    shown = ("read", "accepted", "refused", "duplicates")
    counts = [(_ROWS.get(k, k), format_count(v)) for k, v in rows.items() if v or k in shown]
    why = [(name.replace("_", " "), format_count(count)) for name, count in reasons.items()]
    return [
        list_pairs("Rows of the log", ("rows", "how many"), counts),
        list_pairs("Refused rows by reason", ("reason", "rows"), why or [("none was refused", "0")]),
        list_pairs("What is in it", ("figure", "value"), _population(profile)),
        _coverage(profile),
    ]


def _population(profile: Mapping[str, Any]) -> list[tuple[str, str]]:
    counts = [(name, format_count(profile[name])) for name in ("users", "items", "creators") if profile[name]]
    quartiles = " / ".join("-" if v is None else f"{v:g}" for v in profile["exposures_a_user"].values())
    return [
        *counts,
        ("exposures a user (quartiles)", quartiles),
        ("like rate", format_share(profile["like_rate"])),
        ("like rate without history only", format_share(profile["like_rate_without_history"])),
        ("first exposure", str(profile["first"] or "-")),
        ("last exposure", str(profile["last"] or "-")),
        ("days with exposures", format_count(profile["days"])),
    ]


def _coverage(profile: Mapping[str, Any]) -> Table:
    rows = [
        (name, kind, format_share(shares["known"]), format_share(shares["positive"]))
        for kind in ("signal", "outcome")
        for name, shares in profile[f"{kind}s"].items()
    ]
    headings = ("column", "role", "known in", "positive in, of these")
    return Table("Signals and outcomes", headings, tuple(rows) or (("none", "", "", ""),))


def settings_table(settings: Mapping[str, Any]) -> Table:
    """Write nested settings as dotted names and values."""
    return list_pairs("Settings", ("setting", "value"), _flatten(settings, ""))


def _flatten(settings: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is not None and value not in ([], {}, ()):
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{prefix}{name}", text


def calibration_table(evaluation: Evaluation) -> Table:
    """Write the CORP decomposition beside its null band."""
    parts = evaluation.calibration
    between = f"{parts.miscalibration_null_low:.6f} to {parts.miscalibration_null_high:.6f}"
    bias = parts.bias
    pairs = [
        ("miscalibration", f"{parts.miscalibration:.6f}"),
        ("miscalibration by chance alone", between),
        ("discrimination", f"{parts.discrimination:.6f}"),
        ("uncertainty", f"{parts.uncertainty:.6f}"),
        ("bias", f"{format_bias(bias.value)} ({format_bias(bias.low)} to {format_bias(bias.high)})"),
        ("miscalibration, share of the entropy", format_number(parts.miscalibration_share_of_entropy)),
    ]
    return list_pairs("Where the log loss comes from, in nats", ("part", "value"), pairs)
