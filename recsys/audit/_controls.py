"""What an audit holds itself to. An alarm stops it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from recsys.audit._lift import CHAIN, Scored
from recsys.audit._looks import Look
from recsys.audit._placebo import Placebos
from recsys.audit._questions import Climb
from recsys.audit._result import PLACEBOS, PRIMARY_PLACEBO, Control, Lift, PlaceboCheck
from recsys.audit._rows import AuditRows, gather_rows
from recsys.audit._trial import READ, REAL, Bench, Trial
from recsys.audit._verdict import LEAST_MOVED, Moved
from recsys.errors import GateError
from recsys.inference import between_seeds, two_way_standard_error
from recsys.split import log_before

_ALARM = 0.001
_MOST_DRIFT = 0.02


def stop_on_alarm(controls: list[Control]) -> list[Control]:
    """Refuse to go on when a control that stops has failed.

    Parameters
    ----------
    controls : list of Control

    Returns
    -------
    list of Control
        The same.

    Raises
    ------
    GateError
        With its reason.

    """
    for one in controls:
        if one.stops and not one.passed:
            raise GateError(f"the audit stops, control {one.name!r} failed: {one.said}")
    return controls


def check_before(bench: Bench, placebos: list[Placebos]) -> list[Control]:
    """Check what can be checked before any arm is fitted."""
    found = [check_cut(bench, placebos), check_window(bench.rows, placebos)]
    return found + ([check_folds(bench.climb)] if bench.climb else [])


def check_cut(bench: Bench, placebos: list[Placebos]) -> Control:
    """Delete every row at or after the cut: no feature of either arm may change by a byte."""
    rows = bench.rows
    before = log_before(rows.log, rows.windows.test.cut)
    again = gather_rows(before, rows.windows, score=rows.score)
    liked = {REAL: rows.liked} | {one.kind: one.liked[0] for one in placebos if one.kind == PRIMARY_PLACEBO}
    changed: list[str] = []
    if len(again.known) != len(rows.known) or not np.array_equal(again.liked, rows.liked):
        changed.append("rows or likes that were known")
    else:
        materials = (bench.material, bench.observe(again))
        with ThreadPoolExecutor(bench.threads) as pool:
            looks = [
                [pool.submit(one.look, likes, bench.engine) for one in materials] for likes in liked.values()
            ]
            for kind, (first, second) in zip(liked, looks, strict=True):
                names = changed_features(first.result(), second.result())
                changed += [f"{name} ({kind} likes)" for name in names]
    said = f"with every row at or after {rows.windows.test.cut.isoformat()} deleted, " + (
        f"these changed: {', '.join(dict.fromkeys(changed))}"
        if changed
        else "no feature of either arm changed by a byte"
    )
    return Control("cut_invariance", not changed, True, said)


def changed_features(first: Look, second: Look) -> list[str]:
    """Name the features whose bytes differ."""
    return [
        name
        for place, name in enumerate(first.names)
        if any(
            one[:, place].tobytes() != other[:, place].tobytes()
            for one, other in ((first.learn, second.learn), (first.score, second.score))
        )
    ]


def check_window(rows: AuditRows, placebos: list[Placebos]) -> Control:
    """See that every placebo has as many likes on each side of the calibrate cut as the log, and keeps its margins."""
    wrong = [one.kind for one in placebos if not all(_keeps(rows, one.kind, liked) for liked in one.liked)]
    early, late = (int(rows.liked[side].sum()) for side in (~rows.late, rows.late))
    said = f"{early:,} likes before the calibrate cut and {late:,} after it in every draw, margins kept"
    if wrong:
        said = f"not drawn from the training window alone, or without their margins: {', '.join(wrong)}"
    return Control("placebo_window", not wrong, True, said)


def _keeps(rows: AuditRows, kind: str, liked: NDArray[np.bool_]) -> bool:
    margins = {"habit": [rows.users], "habit_crowd": [rows.users, rows.items]}.get(kind, [])
    return all(
        np.array_equal(
            np.bincount(codes[liked], minlength=size), np.bincount(codes[rows.liked], minlength=size)
        )
        for codes in (rows.late.astype(np.int32), *margins)
        for size in (int(codes.max()) + 1,)
    )


def check_folds(climb: Climb) -> Control:
    """See that no scored user's own labels taught a head of the ladder that forecasts them."""
    shared = climb.users_in_both()
    said = f"{shared:,} scored users are among those that their head of the ladder learned from"
    return Control("user_disjoint", shared == 0, True, said)


def check_after(
    scored: Mapping[str, Scored], lifts: list[Lift], trial: Trial, planted: Control
) -> list[Control]:
    """Check what the forecasts show: capacity, A/A, placebos that beat the real likes, chains, the planted positive."""
    primary = [one for one in scored.values() if one.outcome == lifts[0].outcome]
    found = [check_capacity(trial)]
    found += [check_placebos_alike(one) for one in primary]
    found += [check_real_not_worse(one) for one in lifts if one.outcome == lifts[0].outcome]
    return [*found, check_moved(trial.checks), check_mixing(trial.checks), planted]


def check_capacity(trial: Trial) -> Control:
    """See that heads of real and placebo likes were offered the same features."""
    unlike = []
    for name, read in trial.forecasts.items():
        parts = name.split("/")
        if parts[0] == READ and parts[-1] in CHAIN[1:]:
            real = trial.forecasts["/".join([*parts[:-1], CHAIN[-1]])]
            if len(np.unique(np.vstack([read, real]), axis=0)) > 1:
                unlike.append("/".join(parts[1:]))
    said = (
        f"unlike their twins: {', '.join(unlike)}"
        if unlike
        else "every arm with likes reads the same features"
    )
    return Control("same_capacity", not unlike, True, said)


def check_placebos_alike(scored: Scored) -> Control:
    """Hold two draws of the habit placebo against each other (A/A).

    Notes
    -----
    ``t = (m_0 - m_1) / sqrt(V_cluster + 2 a)``, a the mean over the other placebos: estimated from these draws, it
    would swallow what it is to find. Passes within the two-sided 99.9 % bounds of Student's t with 3 (R - 1) degrees
    of freedom, R draws of each of the three.

    """
    losses, others = scored.losses[PRIMARY_PLACEBO], [one for one in PLACEBOS if one != PRIMARY_PLACEBO]
    between = float(
        np.mean([between_seeds(scored.losses[one], scored.users, scored.items) for one in others])
    )
    clustered = two_way_standard_error(losses[0] - losses[1], scored.users, scored.items) ** 2
    difference = float(losses[0].mean() - losses[1].mean())
    freedom = len(others) * (len(losses) - 1)
    t = difference / np.sqrt(clustered + 2 * between) if difference else 0.0
    # Of one user's rows t is unknown, and no alarm.
    passed = not abs(t) > stdtrit(freedom, 1 - _ALARM / 2)
    said = f"two draws of the habit placebo differ by {100 * difference / scored.entropy:+.3f} NE points, t = {t:+.2f}"
    return Control(f"a_a_{scored.head}", bool(passed), True, said)


def check_real_not_worse(lift: Lift) -> Control:
    """Ask whether the placebo beats the real likes beyond chance: likes from after the cut would make it so."""
    upper = lift.value.bound(1 - _ALARM)
    said = f"the 99.9 % upper bound of the lift is {100 * upper:+.2f} NE points"
    if math.isnan(upper):
        said = "one user's rows are scored: the lift has no upper bound"
    return Control(f"placebo_not_better_{lift.head}", not upper < 0, True, said)


def check_moved(checks: tuple[PlaceboCheck, ...]) -> Control:
    """See that the habit placebo moves at least a quarter of the likes; if not, nothing is called redundant."""
    moved = moved_by(checks).habit
    said = f"the habit placebo moves {100 * moved:.0f} % of the likes"
    if moved < LEAST_MOVED:
        said = f"the placebo barely moves: lift understated; {said}"
    return Control("placebo_moves", moved >= LEAST_MOVED, False, said)


def moved_by(checks: tuple[PlaceboCheck, ...]) -> Moved:
    """Give the shares of likes that the placebos behind the verdict moved."""
    moved = {one.kind: one.moved for one in checks}
    return Moved(moved["habit"], moved["habit_crowd"])


def check_mixing(checks: tuple[PlaceboCheck, ...]) -> Control:
    """See that the chains no longer move away from their hub in the second half of their steps."""
    drift = {one.kind: one.overlap_halfway - one.overlap for one in checks}
    worst = max(drift, key=lambda kind: drift[kind])
    said = (
        f"draws share {100 * max(drift[worst], 0):.1f} % more of their likes after half of the steps than after all, "
        f"at most ({worst.replace('_', ' and ')})"
    )
    return Control("chains_mixed", drift[worst] <= _MOST_DRIFT, False, said)
