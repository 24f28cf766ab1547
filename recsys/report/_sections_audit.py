"""The figures and tables of each section of the audit."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from recsys.audit import PIECES, PLACEBOS, Audit, Lift
from recsys.inference import SeededDifference
from recsys.report._figures_audit import draw_explained, draw_lift, draw_lift_segments
from recsys.report._figures_curves import draw_dose, draw_exchange
from recsys.report._format import (
    format_count,
    format_instant,
    format_points,
    format_probability,
    format_share,
    format_short,
)
from recsys.report._names_audit import FUTURE_LIKES, lifts_of, name_piece, name_placebo
from recsys.report._parts import Figure, Table, list_pairs
from recsys.report._words import name_kind

_ROWS = {
    "known": "exposures known before the cut",
    "past_likes": "past likes",
    "likes_without_view": "likes without a view, left out",
    "learned_from": "exposures the heads learned from",
    "scored": "exposures scored",
    "scored_likes": "likes among them",
    "users": "users among them",
}
_WINDOWS = {"calibrate": "learned from", "test": "scored"}
_FLAGS = ("adds_signal", "materially", "redundant", "harms")
_HELD = ("adds signal", "materially", "redundant", "harms")


def audit_figures(audit: Audit) -> dict[str, Figure]:
    """Draw what could be estimated, by name; what could not has no figure.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    dict of str to Figure

    """
    figures = [*_ladder_figure(audit), *_lift_figures(audit), *_exchange_figure(audit)]
    for kind in ("first", "share"):
        doses = _doses(audit, kind)
        if len(doses):
            figures.append(draw_dose(doses, kind))
    return {figure.name: figure for figure in figures}


def ladder(audit: Audit) -> pl.DataFrame:
    """Lay out the ladder, a row a rung; null where something is not estimable."""
    rows = []
    for rung in audit.known.ladder:
        more = {} if rung.increment is None else rung.increment.as_dict()
        rows.append(
            {
                "rung": rung.name,
                "inputs": rung.inputs,
                "explained": rung.explained.value,
                "low": rung.explained.low,
                "high": rung.explained.high,
                "increment": more.get("value"),
                "increment_low": more.get("low"),
                "increment_high": more.get("high"),
                "bits_left": audit.known.bits_left.get(rung.name),
            }
        )
    kinds = dict.fromkeys(("rung", "inputs"), pl.String)
    numbers = ("explained", "low", "high", "increment", "increment_low", "increment_high", "bits_left")
    return pl.DataFrame(rows, schema=kinds | dict.fromkeys(numbers, pl.Float64)).fill_nan(None)


def _ladder_figure(audit: Audit) -> list[Figure]:
    rows = ladder(audit)
    estimable = rows.filter(pl.col("rung").is_in(["R1", "R2", "R3", "R4"]))["explained"].drop_nulls()
    return [draw_explained(rows)] if len(estimable) else []


def _lift_figures(audit: Audit) -> list[Figure]:
    shown = {"lift-primary": audit.verdict.outcome, "lift-liked": FUTURE_LIKES}
    if audit.verdict.outcome == FUTURE_LIKES:
        del shown["lift-liked"]
    figures = []
    for name, outcome in shown.items():
        rows = _lift_rows(lifts_of(audit, outcome), audit.verdict.given)
        if rows["value"].drop_nulls().len():
            margin = audit.verdict.margin if name == "lift-primary" else None
            figures.append(draw_lift(rows, name, outcome, margin))
    return figures


def _lift_rows(lifts: list[Lift], given: str) -> pl.DataFrame:
    named = [("placebo", name, name_placebo(name, given)) for name in PLACEBOS]
    named += [("piece", name, name_piece(name, given)) for name in PIECES]
    rows: list[dict[str, Any]] = []
    for group, name, label in named:
        for one in lifts:
            found = (one.by_placebo if group == "placebo" else one.pieces).get(name)
            if found is not None:
                rows.append({"group": group, "label": label, "head": one.head, **_figures_of(found)})
    kinds = dict.fromkeys(("group", "label", "head"), pl.String)
    numbers = ("value", "low", "high", "lower", "upper")
    return pl.DataFrame(rows, schema=kinds | dict.fromkeys(numbers, pl.Float64))


def _figures_of(found: SeededDifference) -> dict[str, float | None]:
    figures = found.as_dict()
    return {name: figures[name] for name in ("value", "low", "high", "lower", "upper")}


def _doses(audit: Audit, kind: str) -> pl.DataFrame:
    rows = [
        {
            "dose": float(one.dose),
            "lift": one.lift.value,
            "low": one.lift.low,
            "high": one.lift.high,
            "users": one.users,
            "likes": one.likes,
        }
        for one in audit.dose
        if one.kind == kind and math.isfinite(one.lift.value)
    ]
    numbers = dict.fromkeys(("dose", "lift", "low", "high", "users", "likes"), pl.Float64)
    return pl.DataFrame(rows, schema=numbers).fill_nan(None).sort("dose")


def _exchange_figure(audit: Audit) -> list[Figure]:
    if audit.exchange is None or audit.exchange.curve.is_empty():
        return []
    curve = audit.exchange.curve.cast(pl.Float64).fill_nan(None).sort("share")
    return [draw_exchange(curve)] if curve["with_likes"].drop_nulls().len() else []


def lift_segment_figures(audit: Audit) -> list[Figure]:
    """Draw every kind of segment that has more than one and any lift.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    list of Figure

    """
    if audit.segments.is_empty():
        return []
    kinds = audit.segments.fill_nan(None).partition_by("kind", maintain_order=True)
    return [
        draw_lift_segments(rows, f"segments-{number}", name_kind(rows["kind"][0]))
        for number, rows in enumerate(kinds)
        if len(rows) > 1 and rows["lift"].drop_nulls().len()
    ]


def lone_segments(audit: Audit) -> list[str]:
    """Name the kinds that have one segment only, and so no figure."""
    if audit.segments.is_empty():
        return []
    alone = audit.segments.filter(pl.len().over("kind") == 1).to_dicts()
    return [
        f"{name_kind(row['kind'])}: one segment only, {row['segment']}, {format_points(row['lift'], 2)} NE points."
        for row in alone
    ]


def verdict_table(audit: Audit) -> Table:
    """Write what holds under each head, under all, and of the taste piece."""
    verdict = audit.verdict
    rows = []
    for head, held in verdict.by_head.items():
        ends = [_figures_of(one.value) for one in lifts_of(audit, verdict.outcome) if one.head == head]
        bounds = [format_points(found[name]) for found in ends[:1] for name in ("lower", "upper")]
        rows.append((head, *(bounds or ("", "")), *_marks(held)))
    together = {name: getattr(verdict, name) for name in _FLAGS}
    rows.append(("all heads", "", "", *_marks(together)))
    taste = ["not estimable"] * len(_FLAGS) if verdict.taste is None else _marks(verdict.taste)
    rows.append(("taste piece, all heads", "", "", *taste))
    headings = ("head", "lower bound", "upper bound", *_HELD)
    return Table(f"What holds on {verdict.outcome}", headings, tuple(rows))


def _marks(held: dict[str, bool]) -> list[str]:
    return [{True: "yes", False: "no", None: ""}[held.get(name)] for name in _FLAGS]


def outcomes_table(audit: Audit) -> Table:
    """Write the lift of every outcome under every head."""
    headings = (
        *("outcome", "head", "lift", "95 % from", "to", "lower bound", "upper bound", "bits a past like"),
        *("rank p", "p after Holm", "exposures", "came about", "users"),
    )
    rows = tuple(_outcome_row(one, audit.verdict.outcome) for one in audit.lifts)
    return Table("Like lift by outcome, in NE points", headings, rows or (("none",) + ("",) * 12,))


def _outcome_row(one: Lift, primary: str) -> tuple[str, ...]:
    found = _figures_of(one.value)
    untested = "primary" if one.outcome == primary else ""
    return (
        one.outcome,
        one.head,
        *(format_points(found[name]) for name in ("value", "low", "high", "lower", "upper")),
        format_short(one.bits_per_like),
        format_probability(one.rank_p),
        untested if one.p_holm is None else format_probability(one.p_holm),
        *map(format_count, (one.rows, one.events, one.users)),
    )


def controls_table(audit: Audit) -> Table:
    """Write how each control came out."""
    results = {(True, False): "passed", (True, True): "passed", (False, False): "FAILED"}
    rows = tuple(
        (
            one.name.replace("_", " "),
            results.get((one.passed, one.stops), "FAILED, stops the audit"),
            one.said,
        )
        for one in audit.controls
    )
    return Table("Controls", ("control", "result", "what was found"), rows)


def placebos_table(audit: Audit) -> Table:
    """Write how far each placebo moved and whether its chains mixed."""
    rows = tuple(
        (
            name_placebo(one.kind, audit.verdict.given),
            *map(format_share, (one.moved, one.overlap_halfway, one.overlap)),
        )
        for one in audit.placebos
    )
    headings = ("keeps", "likes moved", "shared halfway", "shared in the end")
    return Table("Placebos", headings, rows or (("none", "", "", ""),))


def windows_table(audit: Audit) -> Table:
    """Write when features were frozen and which exposures were learned from and scored."""
    rows = tuple(
        (_WINDOWS.get(name, name), *map(format_instant, (window.cut, window.start, window.end)))
        for name, window in vars(audit.windows).items()
    )
    return Table("Windows", ("exposures", "known before", "from", "until before"), rows)


def rows_table(audit: Audit) -> Table:
    """Write how many rows the audit rests on."""
    pairs = [(_ROWS.get(name, name), format_count(count)) for name, count in audit.rows.items()]
    return list_pairs("Rows", ("rows", "how many"), pairs)
