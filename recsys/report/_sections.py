"""The figures and tables of each section."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from recsys.evaluation import Evaluation
from recsys.report._figures import draw_distribution, draw_ladder, draw_reliability
from recsys.report._figures_bias import draw_days, draw_segments
from recsys.report._figures_ranking import draw_candidates
from recsys.report._format import format_bias, format_count, format_number, format_share
from recsys.report._parts import Figure, Table, list_pairs
from recsys.report._words import GAIN, name_kind, name_models

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


def main_figures(evaluation: Evaluation) -> dict[str, Figure]:
    """Draw what every evaluation has; of candidates only where something could be ranked.

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
        *([draw_candidates(_tried(evaluation))] if evaluation.candidates else []),
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


def _tried(evaluation: Evaluation) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "candidates": one.candidates,
            "ndcg": one.ndcg.value,
            "recall": one.recall.value,
            "difference": one.difference.value,
            "low": one.difference.low,
            "high": one.difference.high,
        }
        for one in evaluation.candidates
    ).fill_nan(None)


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
        draw_segments(rows, f"segments-{number}", name_kind(rows["kind"][0]))
        for number, rows in enumerate(kinds)
        if len(rows) > 1
    ]


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


def settings_table(settings: Mapping[str, Any], caption: str = "Settings") -> Table:
    """Write nested settings as dotted names and values."""
    return list_pairs(caption, ("setting", "value"), _flatten(settings, ""))


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
