"""What every user's rows add up to -> a crowd.

Whoever holds the rows hands them to a function in batches, every user's all in one, and combines the tables that it
gives. How much users differ is fitted on a sample of them; all else is of everyone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features._crowd import Crowd, Outcome, Trials
from recsys.features._describe import Told, build_table, ln_exposures
from recsys.features._effects import LINKS, Effects, effects_precision, rate_of, shrunk_effects
from recsys.features._kernels import (
    EVERYONE,
    KIND,
    PLACE,
    POSITIVE,
    SUCCESSES,
    SUMS,
    TRIALS,
    USERS,
    Counted,
    CountExposures,
    Holder,
    LastLinks,
    PositiveValues,
    SumExpected,
)
from recsys.features._names import COUNT, LATELY, NEWNESS, TREND
from recsys.features._rates import fit_beta_binomial, shrunk_log_odds
from recsys.features._recency import trends_of
from recsys.matrix import UNSEEN, IdIndex
from recsys.schema import ITEM, LIKED, USER


def gather_crowd(
    holder: Holder,
    sample: pl.DataFrame,
    cut: datetime,
    signals: tuple[str, ...],
    numbered: Mapping[str, IdIndex],
    half_life: float,
) -> Crowd:
    """Describe what everyone tells, apart from factorisations.

    Parameters
    ----------
    holder : Holder
    sample : polars.DataFrame
        The rows of a sample of users, as kernels get them.
    cut : datetime.datetime
    signals : tuple of str
    numbered : mapping of str to IdIndex
        Items, creators and categories of the whole log.
    half_life : float
        In exposures of a user.

    Returns
    -------
    Crowd

    """
    units = {LIKED: 1.0, **_find_units(holder, signals)}
    counting = CountExposures(cut, units, tuple(numbered))
    counted = Counted(holder.combine(counting, counting.how))
    crowd = _begin(counted, cut, units, numbered, half_life)
    crowd = replace(crowd, links=_find_links(holder, crowd))
    crowd = _fit(crowd, sample, _fit_users)
    for kind in (*(kind for kind in LINKS if kind in numbered), ITEM):
        crowd = _add_effects(holder, crowd, kind)
    crowd = _fit(crowd, sample, _fit_pairs)
    told = {
        name: Told(one.rates, np.zeros(1), Effects(one.effects, {})) for name, one in crowd.outcomes.items()
    }
    tables = {
        kind: build_table(kind, index, told, crowd.exposures[kind]) for kind, index in crowd.indices.items()
    }
    return replace(crowd, tables=tables)


def _find_units(holder: Holder, signals: tuple[str, ...]) -> dict[str, float]:
    units = dict.fromkeys(signals, 1.0)
    if signals:
        found = holder.combine(PositiveValues(signals), {"value": "median"})
        units |= dict(zip(found[KIND], found["value"], strict=True))
    return units


def _begin(
    counted: Counted,
    cut: datetime,
    units: dict[str, float],
    numbered: Mapping[str, IdIndex],
    half_life: float,
) -> Crowd:
    """Take what counts tell."""
    indices, anew = {}, {}
    for kind, index in numbered.items():
        known = counted.known(kind)
        indices[kind] = IdIndex(index.ids.gather(known))
        anew[kind] = np.full(len(index) + 1, UNSEEN, np.int32)
        anew[kind][known] = np.arange(len(known), dtype=np.int32)
    return Crowd(
        cut=cut,
        half_life=half_life,
        indices=indices,
        anew=anew,
        links={},
        outcomes={name: _count_outcome(counted, name, unit, numbered) for name, unit in units.items()},
        exposures={kind: _describe(counted, kind) for kind in numbered},
        shown=counted.shown == "shown",
        mean_ln_exposures=counted.whole(USERS, f"ln_{counted.shown}") / counted.whole(USERS, "rows"),
    )


def _count_outcome(counted: Counted, name: str, unit: float, kinds: Iterable[str]) -> Outcome:
    successes, trials = f"{SUCCESSES}:{name}", f"{TRIALS}:{name}"
    return Outcome(
        unit=unit,
        positive=int(counted.whole(EVERYONE, f"{POSITIVE}:{name}")),
        rate=rate_of(counted.whole(EVERYONE, successes), counted.whole(EVERYONE, trials)),
        rates={
            kind: shrunk_log_odds(counted.counts(kind, successes), counted.counts(kind, trials))
            for kind in kinds
        },
    )


def _describe(counted: Counted, kind: str) -> dict[str, NDArray[np.float64]]:
    columns = {COUNT: ln_exposures(counted.counts(kind, counted.shown))}
    if kind == ITEM:
        shown = counted.whole(EVERYONE, "shown")
        mean_weight = counted.whole(EVERYONE, "weight") / max(shown, 1)
        trends = trends_of(counted.column(kind, "weight"), counted.counts(kind, "shown"), mean_weight)
        columns |= {NEWNESS: np.append(counted.column(kind, "age"), 1.0), TREND: np.append(trends, 0.0)}
    return columns


def _find_links(holder: Holder, crowd: Crowd) -> dict[str, NDArray[np.int32]]:
    kinds = tuple(kind for kind in LINKS if kind in crowd.indices)
    links = {kind: np.full(len(crowd.indices[ITEM]) + 1, UNSEEN, np.int32) for kind in kinds}
    if kinds:
        found = holder.combine(LastLinks(kinds), {"linked": "last"})
        for kind in kinds:
            of_kind = found.filter(pl.col(KIND) == kind)
            items = crowd.anew[ITEM][of_kind[PLACE].to_numpy()]
            links[kind][items] = crowd.anew[kind][of_kind["linked"].to_numpy()]
    return links


def _fit(crowd: Crowd, sample: pl.DataFrame, fit: Callable[[Trials], Outcome]) -> Crowd:
    """Fit how much users differ on a sample of them."""
    seen = crowd.look_at(sample)
    return replace(crowd, outcomes={name: fit(seen.of(name)) for name in crowd.outcomes})


def _fit_users(trials: Trials) -> Outcome:
    outcome, (successes, tried) = trials.outcome, trials.counts()
    precisions = {
        USER: effects_precision(
            *(np.asarray(one, np.float64) for one in (successes, tried, tried * outcome.rate))
        ),
        LATELY: effects_precision(*trials.late_sums()),
    }
    return replace(outcome, prior=fit_beta_binomial(successes, tried), precisions=precisions)


def _fit_pairs(trials: Trials) -> Outcome:
    expectation, _ = trials.expect()
    precisions = dict(trials.outcome.precisions)
    for kind, (codes, size) in trials.pairs().items():
        precisions[kind] = effects_precision(*expectation.sums(codes, size))
        expectation.add(codes, size, precisions[kind])
    return replace(trials.outcome, precisions=precisions)


def _add_effects(holder: Holder, crowd: Crowd, kind: str) -> Crowd:
    """Estimate what each entity of a kind adds to what came before it."""
    kernel = SumExpected(crowd, kind)
    found, outcomes = holder.combine(kernel, kernel.how), {}
    for name, one in crowd.outcomes.items():
        sums = [np.zeros(len(crowd.indices[kind])) for _ in SUMS]
        for whole, what in zip(sums, SUMS, strict=True):
            whole[found[PLACE].to_numpy()] = found[f"{what}:{name}"].to_numpy()
        outcomes[name] = replace(one, effects={**one.effects, kind: shrunk_effects(*sums)})
    return replace(crowd, outcomes=outcomes)
