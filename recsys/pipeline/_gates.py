"""Bounds that a run must meet before anything is published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from recsys import store
from recsys.config import GatesSettings
from recsys.errors import DataError, GateError, RecsysError
from recsys.evaluation import Evaluation
from recsys.events import EventLog
from recsys.metrics import binary_entropy, log_losses, population_stability
from recsys.model import WillLikeModel
from recsys.pipeline._outbox import Outbox
from recsys.pipeline._past import Past, find_past, row_counts
from recsys.schema import LIKED, TIME, USER
from recsys.split import exposures_in, split_by_time

_log = logging.getLogger("recsys")


@dataclass(frozen=True)
class Gate:
    """A bound, and what was held against it.

    Attributes
    ----------
    name : str
        Its key in `[gates]`.
    figure : float or None
        None where there was nothing to hold against it.
    bound : float
    passed : bool
    said : str
        Figure and bound in words.

    """

    name: str
    figure: float | None
    bound: float
    passed: bool
    said: str


def gated(out: Outbox, evaluate: Callable[[], Evaluation]) -> Evaluation:
    """Evaluate, and let through what meets every bound of `[gates]`.

    Parameters
    ----------
    out : Outbox
        Gets the gates, for the manifest.
    evaluate : callable

    Returns
    -------
    Evaluation

    Raises
    ------
    GateError
        Naming the figure and the bound of each gate that failed. The evaluation is left in OUT/rejected.
    DataError
        What the evaluation raised, unless a gate had failed before it.

    """
    past = find_past(out)
    gates = list(check_log(out, past))
    try:
        evaluation = evaluate()
    except DataError as error:
        if all(gate.passed for gate in gates):
            raise
        raise _refusal(out, gates, None, f"; no evaluation: {error}") from error
    gates += check_evaluation(evaluation, out, past)
    out.gates = [asdict(gate) for gate in gates]
    for gate in gates:
        _log.info("gate %s: %s", gate.name, gate.said, extra={"event": "gate", **_told(gate)})
    if not all(gate.passed for gate in gates):
        raise _refusal(out, gates, evaluation)
    return evaluation


def _told(gate: Gate) -> dict[str, Any]:
    return {name: value for name, value in asdict(gate).items() if name not in ("name", "said")} | {
        "gate": gate.name
    }


def _refusal(out: Outbox, gates: list[Gate], evaluation: Evaluation | None, more: str = "") -> GateError:
    out.gates = [asdict(gate) for gate in gates]
    failed = "; ".join(gate.said for gate in gates if not gate.passed)
    try:
        kept = f"look into {out.reject(evaluation)}"
    except (RecsysError, OSError) as error:
        kept = f"nor could the evaluation be kept, {error}"
    return GateError(f"{failed}{more}: nothing was published, {kept}")


def check_log(out: Outbox, past: Past) -> Iterator[Gate]:
    """Hold the log against the bounds on its age and volume.

    Parameters
    ----------
    out : Outbox
    past : Past

    Yields
    ------
    Gate

    """
    gates, log = out.job.settings.gates, out.log
    if gates.max_age is not None:
        newest = log.shown.select(pl.col(TIME).max()).item()
        hours, most = (log.as_of - newest).total_seconds() / 3600, gates.max_age.total_seconds() / 3600
        yield _hold(
            *("max_age", hours, most, hours <= most),
            f"the newest exposure is {hours:.1f} h older than as_of, {{}} gates.max_age = {most:g} h",
        )
    asked = gates.min_volume is not None or gates.max_volume is not None
    ratios = _volumes(out, past) if asked else {}
    for name, choose in {"min_volume": min, "max_volume": max}.items():
        bound = getattr(gates, name)
        if bound is None:
            continue
        if not ratios:
            yield _pass(name, bound, "no earlier run to hold the volume against")
            continue
        said, ratio = choose(ratios.items(), key=lambda one: one[1])
        passed = ratio >= bound if name == "min_volume" else ratio <= bound
        yield _hold(name, ratio, bound, passed, f"{said}, {ratio:.2f} times, {{}} gates.{name} = {bound:g}")


def _volumes(out: Outbox, past: Past) -> dict[str, float]:
    """Give accepted rows and test rows as multiples of what they were: said in words -> ratio."""
    windows = split_by_time(out.job.settings.windows, out.log.as_of)
    scored = len(exposures_in(out.log.exposures, windows.test, out.log.settle))
    counted = {
        "rows accepted": (out.log.counts.accepted, row_counts(past.runs, "accepted")),
        "rows in the test window": (scored, row_counts(past.scored, "scored")),
    }
    return {
        f"{now:,} {what}, {median(before):,.0f} in {_last(len(before))}": now / median(before)
        for what, (now, before) in counted.items()
        if before and median(before) > 0
    }


def _last(runs: int) -> str:
    return "the last run" if runs == 1 else f"the last {runs} runs"


def check_evaluation(evaluation: Evaluation, out: Outbox, past: Past) -> Iterator[Gate]:
    """Hold an evaluation against the bounds on its figures.

    Parameters
    ----------
    evaluation : Evaluation
    out : Outbox
    past : Past

    Yields
    ------
    Gate

    """
    gates = out.job.settings.gates
    if (bound := gates.max_like_rate_shift) is not None:
        yield _like_rate(evaluation, past, bound)
    entropy, most = evaluation.metrics["normalized_entropy"].value, gates.max_normalized_entropy
    yield _hold(
        *("max_normalized_entropy", entropy, most, entropy <= most),
        f"normalized_entropy is {entropy:.4f}, {{}} gates.max_normalized_entropy = {most:g}",
    )
    if (bound := gates.max_entropy_rise) is not None:
        yield _entropy_rise(evaluation, out, gates, bound)
    if (bound := gates.max_bias) is not None:
        bias = evaluation.metrics["bias"].value
        yield _hold(
            *("max_bias", bias, bound, abs(bias) <= bound),
            f"bias is {bias:+.4f}, {{}} gates.max_bias = {bound:g}",
        )
    if (bound := gates.max_population_drift) is not None:
        yield _drift(evaluation, past, bound)


def _like_rate(evaluation: Evaluation, past: Past, bound: float) -> Gate:
    rates = [rate for run in past.scored for rate in _rates_of(run)]
    if not rates:
        return _pass("max_like_rate_shift", bound, "no earlier run to hold the like rate against")
    now, before = evaluation.rows["likes"] / evaluation.rows["exposures"], median(rates)
    shift = now / before - 1
    return _hold(
        *("max_like_rate_shift", shift, bound, abs(shift) <= bound),
        f"the like rate of the test window is {now:.4f}, {before:.4f} in {_last(len(rates))}, a shift of "
        f"{shift:+.2f}, {{}} gates.max_like_rate_shift = {bound:g}",
    )


def _rates_of(run: Mapping[str, Any]) -> list[float]:
    """Give the like rate of an earlier run's test window, where it says it and had likes."""
    counted = zip(row_counts([run], "scored_likes"), row_counts([run], "scored"), strict=False)
    return [likes / rows for likes, rows in counted if likes]


def _entropy_rise(evaluation: Evaluation, out: Outbox, gates: GatesSettings, bound: float) -> Gate:
    name = "max_entropy_rise"
    try:
        model = WillLikeModel.from_files(store.read_model_files(out.run.out), out.job.threads)
        rows = _rows_after(model, evaluation, out.log)
        likes = int(rows[LIKED].sum())
        if likes < gates.min_likes or likes == len(rows):
            return _pass(
                *(name, bound),
                f"{likes} likes in {len(rows):,} test exposures after what serves was fitted, too few to hold it "
                f"against: gates.min_likes = {gates.min_likes}",
            )
        theirs = model.probabilities(model.snapshot.place(rows))
    except RecsysError as error:
        return _pass(name, bound, f"no version to hold normalized_entropy against, {error}")
    liked = rows[LIKED].to_numpy()
    losses = rows["log_loss"].to_numpy() - log_losses(liked, theirs)
    rise = float(losses.mean() / binary_entropy(liked.mean()))
    return _hold(
        *(name, rise, bound, rise <= bound),
        f"normalized_entropy is {rise:+.4f} from that of the version that serves, on {len(rows):,} exposures after "
        f"its as_of, {{}} gates.max_entropy_rise = {bound:g}",
    )


def _rows_after(model: WillLikeModel, evaluation: Evaluation, log: EventLog) -> pl.DataFrame:
    """Take the exposures that both have forecast without having seen them, each with the loss of ours."""
    rows = exposures_in(log.exposures, evaluation.window, log.settle)
    ids = model.snapshot.entities[USER].index.ids.dtype
    if rows.schema[USER] != ids:
        raise DataError(f"its ids are {ids}, those of the log {rows.schema[USER]}")
    return rows.with_columns(evaluation.losses["log_loss"]).filter(pl.col(TIME) >= model.snapshot.cut)


def _drift(evaluation: Evaluation, past: Past, bound: float) -> Gate:
    name = "max_population_drift"
    if past.probabilities is None or past.probabilities.is_empty():
        return _pass(name, bound, "no earlier run to hold the probabilities against")
    before, after = (
        one.cast(pl.Float64).sort().to_numpy() for one in (past.probabilities, evaluation.losses["will_like"])
    )
    drift = population_stability(before, after)
    return _hold(
        *(name, drift, bound, drift <= bound),
        f"the population stability index of the test window's probabilities against the last run is {drift:.4f}, "
        f"{{}} gates.{name} = {bound:g}",
    )


def _hold(name: str, figure: float, bound: float, passed: bool, said: str) -> Gate:
    beyond = "below" if name.startswith("min") else "beyond" if figure < 0 or "shift" in name else "above"
    finite = figure if np.isfinite(figure) else None
    return Gate(name, finite, bound, passed, said.format("within" if passed else beyond))


def _pass(name: str, bound: float, said: str) -> Gate:
    return Gate(name, None, bound, True, said)
