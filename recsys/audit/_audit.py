"""The audit: reads as a table of contents."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

import polars as pl

from recsys.audit._controls import check_after, check_before, moved_by, stop_on_alarm
from recsys.audit._curves import measure_doses, measure_exchange, trace_curves
from recsys.audit._document import Audit
from recsys.audit._dwell import Given, follow_dwell
from recsys.audit._ladder import climb_ladder
from recsys.audit._lift import CHAIN, Scored, measure_lifts, score_trial
from recsys.audit._plan import Plan, make_plan
from recsys.audit._planted import check_planted, plant
from recsys.audit._residual import residual_press
from recsys.audit._result import Control, Lift, Missing, Verdict
from recsys.audit._rows import AuditRows, gather_rows
from recsys.audit._segments import lift_by_segment
from recsys.audit._trial import NoShelf, Shelf, Trial, draw_all, run_trial, set_bench
from recsys.audit._verdict import judge, put_in_sentences
from recsys.config import Settings
from recsys.events import EventLog, read
from recsys.matrix import one_blas_thread
from recsys.schema import ITEM, LIKED, TIME, USER, Frame
from recsys.split import split_by_time

_log = logging.getLogger("recsys")


def audit(
    exposures: EventLog | Frame,
    settings: Settings | None = None,
    *,
    threads: int = 0,
    shelf: Shelf | None = None,
) -> Audit:
    """Say whether past likes add anything to prediction that behaviour does not already tell.

    Parameters
    ----------
    exposures : EventLog or polars or pandas frame
        A frame needs the default column names, or `settings.events`.
    settings : Settings, optional
    threads : int, optional
        0 means one a core. The result does not depend on it.
    shelf : Shelf, optional
        Where finished arms are kept, so that a killed audit can go on.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        When the log holds positives only, or a window lacks likes or outcomes.
    GateError
        When a control sounds an alarm: the figures would be wrong.

    Notes
    -----
    METHOD: arms are behaviour only, the real likes, and placebo likes of four kinds; each is seen through the same
    features, head and calibrator as the product's own model, at one cut a window.

    Examples
    --------
    >>> from recsys.config import AuditSettings, ModelSettings
    >>> from recsys.simulation import World, simulate
    >>> log = simulate(World.preset("small", exposures=12_000, users=300, items=80, like_rate=0.1, seed=1)).events
    >>> lean = AuditSettings(seeds=2, placebos=2, heads=("logistic",))
    >>> found = audit(log, Settings(audit=lean, model=ModelSettings(factors=4, iterations=2)))
    >>> found.verdict.outcome, [rung.name for rung in found.known.ladder][:3]
    ('dwell_seconds', ['R0', 'R1', 'R2'])

    """
    settings = settings or Settings()
    log = exposures if isinstance(exposures, EventLog) else read(settings.events, events=exposures)
    rows = gather_rows(log, split_by_time(settings.windows, log.as_of))
    plan = make_plan(rows, settings)
    with one_blas_thread():
        return run_audit(rows, plan, threads or os.cpu_count() or 1, shelf or NoShelf())


def run_audit(rows: AuditRows, plan: Plan, threads: int, shelf: Shelf) -> Audit:
    """Run a planned audit.

    Parameters
    ----------
    rows : AuditRows
    plan : Plan
    threads : int
    shelf : Shelf

    Returns
    -------
    Audit

    """
    _log.info("observing behaviour before both cuts")
    given = follow_dwell(rows, plan.signals, plan.model.seed)
    bench = set_bench(rows, plan, given, also=None, threads=threads, shelf=shelf)
    _log.info("drawing placebo likes")
    placebos = draw_all(bench)
    _log.info("checking that nothing comes from after the cut")
    controls = stop_on_alarm(check_before(bench, placebos))
    trial = run_trial(bench, placebos)
    scored = score_trial(rows, plan, trial)
    past_likes = int(rows.liked.sum())
    lifts = measure_lifts(scored, past_likes)
    first = scored[f"{plan.primary}/{plan.outcomes[plan.primary][0]}"]
    _log.info("planting likes that know the future")
    planted = check_planted(first, rows, plant(bench)[f"{first.outcome}/{first.head}"])
    controls += stop_on_alarm(check_after(scored, list(lifts), trial, planted))
    _log.info("tracing doses and the exchange rate")
    curves = trace_curves(bench, first)
    residual = residual_press(rows.log, plan.primary, plan.model, threads=threads)
    return Audit(
        verdict=_judge(plan, given, lifts, trial, planted, past_likes),
        known=climb_ladder(rows, trial.forecasts),
        lifts=lifts,
        placebos=trial.checks,
        exchange=measure_exchange(first, curves, len(rows.known), past_likes, plan.model.seed),
        dose=measure_doses(first, curves, past_likes),
        residual=None if isinstance(residual, Missing) else residual,
        segments=lift_by_segment(rows, first),
        controls=tuple(controls),
        missing=(
            *plan.missing,
            *_say_missing(given, plan.signals, plan.primary),
            *([residual] if isinstance(residual, Missing) else []),
        ),
        windows=rows.windows,
        rows=_count(rows, past_likes),
        settings=plan.settings,
        settings_sha256=plan.sha256,
        losses=_losses_table(rows, plan, scored),
    )


def _judge(
    plan: Plan, given: Given, lifts: tuple[Lift, ...], trial: Trial, planted: Control, past_likes: int
) -> Verdict:
    primary = [one for one in lifts if one.outcome == plan.primary]
    moved = moved_by(trial.checks)
    verdict = judge(
        primary,
        plan.audit.margin,
        given.name,
        planted_found=planted.passed,
        moved=moved,
        past_likes=past_likes,
    )
    return verdict.with_sentences(put_in_sentences(verdict, primary, moved, planted.passed))


def _say_missing(given: Given, signals: tuple[str, ...], primary: str) -> list[Missing]:
    found = []
    if given.name != "dwell":
        needs = "events.columns.dwell: a number known before the cut, seconds or the share watched"
        found.append(Missing("Do likes carry taste beyond dwell?", f"the log knows {given.name}", needs))
    if not signals:
        why = "the arm without likes reads no behaviour signal: it knows what was shown, and no more"
        found.append(
            Missing("What do likes add beyond behaviour?", why, "events.signals, or events.columns.dwell")
        )
    elif primary not in signals:
        why = f"the arm without likes reads {', '.join(signals)}, which leaves room that past {primary!r} may fill"
        found.append(
            Missing(f"What do likes add beyond past {primary!r}?", why, f"events.signals: {primary!r}")
        )
    return found


def _count(rows: AuditRows, past_likes: int) -> dict[str, int]:
    return {
        "known": len(rows.known),
        "past_likes": past_likes,
        "likes_without_view": rows.likes_left_out,
        "learned_from": len(rows.learn),
        "scored": len(rows.score),
        "scored_likes": int(rows.score[LIKED].sum()),
        "users": rows.score[USER].n_unique(),
    }


def _losses_table(rows: AuditRows, plan: Plan, scored: Mapping[str, Scored]) -> pl.DataFrame:
    """Keep the mean losses of each kind of arm for the primary outcome, null where it is unknown."""
    labels = pl.Series(plan.primary, rows.labels(rows.score, plan.primary)).fill_nan(None)
    table = rows.score.select(USER, ITEM, TIME, LIKED).with_columns(labels)
    for head in plan.outcomes[plan.primary]:
        one = scored[f"{plan.primary}/{head}"]
        places = pl.Series("place", one.known).arg_true()
        for kind in CHAIN:
            column = pl.Series(f"log_loss_{kind}_{head}", [None] * len(table), dtype=pl.Float64)
            table = table.with_columns(column.scatter(places, one.losses[kind].mean(axis=0)))
    return table
