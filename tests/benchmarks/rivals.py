"""What people use today, fitted by the protocol of `evaluate`, for `quality.py`.

Every rival knows, when its probabilities are fitted on the calibrate window, what was known before it;
then its factors and rates are refreshed to the cut of the test window and its calibrator or trees stay.
Its dials are chosen on the calibrate window, on users left out in turn. No rival sees a test row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from recsys import EventLog, Settings, WillLikeModel
from recsys.config import WindowsSettings
from recsys.evaluation import BASELINES
from recsys.factors import Factors
from recsys.features import COUNT, Pairs, Snapshot, Snapshots
from recsys.matrix import UserItems, distinct_codes, interactions
from recsys.metrics import log_loss
from recsys.model import fit_model
from recsys.probability import fit_beta_calibrator
from recsys.schema import ITEM, LIKED, USER
from recsys.split import Windows, exposures_in, known_before, split_by_time

Floats = NDArray[np.float64]
LONGEST_LIST = 20
CLIP = 1e-6
FOLDS = 5
#: Dials that are tried on the calibrate window; the rest are the libraries' defaults (implicit 0.7, LightGBM 4).
ALS_DIALS = [{"factors": f, "alpha": alpha} for f in (16, 64) for alpha in (1.0, 10.0, 40.0)]
LMF_DIALS = [{"factors": f, "regularization": r} for f in (8, 30) for r in (0.6, 3.0)]
GBM_DIALS = [{"num_leaves": leaves, "min_data_in_leaf": rows} for leaves in (4, 8, 31) for rows in (50, 300)]
_GBM = {"objective": "binary", "learning_rate": 0.05, "deterministic": True, "force_row_wise": True}
_ROUNDS, _PATIENCE = 1000, 50
_USERS_AT_ONCE = 100


@dataclass(frozen=True)
class Forecast:
    """What a model says of the test window: a probability a row, a list a user with a relevant pair."""

    will_like: Floats
    ranked: pl.DataFrame | None
    note: str = ""


@dataclass(frozen=True)
class Trial:
    """What every model is given, and what it is scored on."""

    log: EventLog
    settings: Settings
    windows: Windows
    rates: Snapshots  # factorisations of one factor, which nobody reads

    @classmethod
    def of(cls, log: EventLog, settings: Settings) -> Trial:
        """Lay the windows of the settings."""
        windows = split_by_time(settings.windows, log.as_of)
        small = settings.model.model_copy(update={"factors": 1, "iterations": 1})
        return cls(log, settings, windows, Snapshots(log, small))

    @cached_property
    def calibrate(self) -> pl.DataFrame:
        """Exposures that heads and calibrators learn from."""
        return exposures_in(self.log.exposures, self.windows.calibrate, self.log.settle)

    @cached_property
    def test(self) -> pl.DataFrame:
        """Exposures that are scored."""
        return exposures_in(self.log.exposures, self.windows.test, self.log.settle)

    @cached_property
    def seen(self) -> pl.DataFrame:
        """Pairs shown before the test window: neither recommended nor relevant."""
        return known_before(self.log.shown, self.windows.test.cut).select(USER, ITEM)

    @cached_property
    def relevant(self) -> pl.DataFrame:
        """Pairs liked in the test window and not seen before it."""
        liked = self.test.filter(LIKED).select(USER, ITEM).unique(maintain_order=True)
        return liked.join(self.seen, on=[USER, ITEM], how="anti", maintain_order="left")


def ours(trial: Trial) -> Forecast:
    """Fit the model that `evaluate` scores, through the public names."""
    calibrate = trial.windows.calibrate
    windows = WindowsSettings(calibrate=calibrate.end - calibrate.start, gap=calibrate.start - calibrate.cut)
    settings = trial.settings.model
    return _of_model(
        trial, WillLikeModel.fit(trial.log, settings, as_of=trial.windows.test.cut, windows=windows)
    )


def baseline(name: str) -> Callable[[Trial], Forecast]:
    """Take a baseline of `evaluate` that reads no factors."""

    def fit(trial: Trial) -> Forecast:
        windows = trial.windows
        return _of_model(trial, fit_model(trial.rates, windows.calibrate, windows.test.cut, BASELINES[name]))

    return fit


def base_rate(trial: Trial) -> Forecast:
    """Say the like rate of the calibrate window, always."""
    return Forecast(np.full(len(trial.test), trial.calibrate[LIKED].mean()), None)


def _of_model(trial: Trial, model: WillLikeModel) -> Forecast:
    will_like = model.predict_proba(trial.test)["will_like"].cast(pl.Float64).to_numpy()
    ranked = model.recommend(trial.relevant[USER], n=LONGEST_LIST, exclude=trial.seen)
    return Forecast(will_like, ranked)


def als(trial: Trial) -> Forecast:
    """implicit's ALS of the likes, all else zero, and an isotonic regression of liked on its score."""
    from implicit.cpu.als import AlternatingLeastSquares

    return _factorisation(trial, ALS_DIALS, lambda dials: AlternatingLeastSquares(random_state=0, **dials))


def lmf(trial: Trial) -> Forecast:
    """implicit's logistic matrix factorisation of the likes, and an isotonic regression."""
    from implicit.cpu.lmf import LogisticMatrixFactorization

    # One thread: with more its negatives depend on their number.
    return _factorisation(
        trial, LMF_DIALS, lambda dials: LogisticMatrixFactorization(random_state=0, num_threads=1, **dials)
    )


def _factorisation(
    trial: Trial, choices: list[dict[str, Any]], build: Callable[[dict[str, Any]], Any]
) -> Forecast:
    windows, rows = trial.windows, trial.calibrate
    liked, folds = rows[LIKED].to_numpy(), _user_folds(rows)
    scored = [
        _scores(trial, _factors(trial, windows.calibrate.cut, build(dials)), windows.calibrate.cut, rows)
        for dials in choices
    ]
    losses = [_held_out_loss(scores, liked, folds) for scores in scored]
    best = int(np.argmin(losses))
    factors = _factors(trial, windows.test.cut, build(choices[best]))
    calibrator = IsotonicRegression(out_of_bounds="clip").fit(scored[best], liked)
    raw = calibrator.predict(_scores(trial, factors, windows.test.cut, trial.test))
    note = f"{say(choices[best])}; {_unclipped(raw, trial.test[LIKED].to_numpy())}"
    return Forecast(np.clip(raw, CLIP, 1 - CLIP), _rank_factors(trial, factors), note)


def _factors(trial: Trial, cut: datetime, solver: Any) -> Factors:
    """Factorise the likes before a cut; users and items without a like are zero."""
    known, snapshot = known_before(trial.log.exposures, cut, trial.log.settle), trial.rates.at(cut)
    shape = tuple(len(snapshot.entities[kind].index) for kind in (USER, ITEM))
    users, items = (snapshot.entities[kind].index.codes(known[kind]) for kind in (USER, ITEM))
    likes = interactions(users, items, known[LIKED].to_numpy().astype(np.float32), shape)
    solver.fit(likes, show_progress=False)
    of_users = np.where(np.diff(likes.indptr)[:, None] > 0, solver.user_factors, np.float32(0))
    of_items = np.where(likes.getnnz(axis=0)[:, None] > 0, solver.item_factors, np.float32(0))
    return Factors(of_users, of_items)


def _scores(trial: Trial, factors: Factors, cut: datetime, rows: pl.DataFrame) -> Floats:
    places = trial.rates.at(cut).place(rows).places
    return factors.scores(places[USER], places[ITEM]).astype(np.float64)


def _held_out_loss(scores: Floats, liked: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    will_like = np.empty(len(scores))
    for fold in range(FOLDS):
        own = folds == fold
        fitted = IsotonicRegression(out_of_bounds="clip").fit(scores[~own], liked[~own])
        will_like[own] = fitted.predict(scores[own])
    return log_loss(liked, np.clip(will_like, CLIP, 1 - CLIP))


def _unclipped(raw: Floats, liked: NDArray[np.bool_]) -> str:
    """Say what the isotonic regression costs where it is certain."""
    wrong = int(((raw <= 0) & liked).sum() + ((raw >= 1) & ~liked).sum())
    certain = int(((raw <= 0) | (raw >= 1)).sum())
    infinite = "so that NE is infinite unclipped" if wrong else "so that clipping changes little"
    return f"isotonic says 0 or 1 for {certain:,} test rows and is wrong in {wrong:,} of them, {infinite}"


def _rank_factors(trial: Trial, factors: Factors) -> pl.DataFrame:
    """Rank by score; users without a like get the most liked items."""
    snapshot = trial.rates.at(trial.windows.test.cut)
    known = known_before(trial.log.exposures, trial.windows.test.cut, trial.log.settle).filter(LIKED)
    catalogue = snapshot.entities[ITEM].index
    popularity = np.bincount(catalogue.codes(known[ITEM]), minlength=len(catalogue))
    users = trial.relevant[USER].unique().sort()
    places = snapshot.entities[USER].index.codes(users)
    left = np.where(places[:, None] >= 0, factors.user_factors[places], np.float32(0))
    cold = ~left.any(axis=1)
    widened = Factors(
        np.column_stack([left, cold]).astype(np.float32),
        np.column_stack([factors.item_factors, popularity]).astype(np.float32),
    )
    best = widened.top_n(LONGEST_LIST, _excluded(trial, users, catalogue.ids))
    return _ranked(users.gather(best.users), catalogue.ids.gather(best.items))


def gradient_boosting(trial: Trial) -> Forecast:
    """LightGBM on the rates and counts of user, item, creator and category; beta-calibrated.

    The number of trees is where the log loss of left-out users is least; the calibrator is fitted on
    what is said of them.
    """
    import lightgbm

    rows, windows = trial.calibrate, trial.windows
    features = _rates_in(trial.rates.at(windows.calibrate.cut), rows)
    liked, folds = rows[LIKED].to_numpy(), _user_folds(rows)
    fits = [_cross_validate(features, liked, folds, dials) for dials in GBM_DIALS]
    best = int(np.argmin([fit[0] for fit in fits]))
    _, rounds, held_out = fits[best]
    trees = lightgbm.train(_parameters(GBM_DIALS[best]), lightgbm.Dataset(features, liked), rounds)
    calibrator = fit_beta_calibrator(held_out, liked)
    raw = trees.predict(_rates_in(trial.rates.at(windows.test.cut), trial.test), raw_score=True)
    ranked = _rank_trees(trial, lambda table: trees.predict(table, raw_score=True))
    return Forecast(calibrator.apply(raw), ranked, f"{say(GBM_DIALS[best])}, {rounds} trees")


def _cross_validate(
    features: Floats, liked: NDArray[np.bool_], folds: NDArray[np.int64], dials: dict[str, Any]
) -> tuple[float, int, Floats]:
    """Find the least held-out loss, its number of trees, and what they say of the held-out rows."""
    import lightgbm

    parts = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(FOLDS)]
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    data = lightgbm.Dataset(features, liked)
    found = lightgbm.cv(
        _parameters(dials), data, _ROUNDS, folds=parts, callbacks=[stop], return_cvbooster=True
    )
    boosters, losses = found["cvbooster"], found["valid binary_logloss-mean"]
    held_out = np.empty(len(liked))
    for booster, (_, own) in zip(boosters.boosters, parts, strict=True):
        held_out[own] = booster.predict(features[own], raw_score=True, num_iteration=len(losses))
    return losses[-1], len(losses), held_out


def _parameters(dials: dict[str, Any]) -> dict[str, Any]:
    return {**_GBM, **dials, "seed": 0, "verbosity": -1}


def _rates_in(snapshot: Snapshot, rows: pl.DataFrame) -> Floats:
    return _rates_of(snapshot, snapshot.place(rows))


def _rates_of(snapshot: Snapshot, pairs: Pairs) -> Floats:
    kept = [":rate:" in name or name.endswith(f":{COUNT}") for name in snapshot.names]
    return snapshot.pair_features(pairs)[:, kept]


def _rank_trees(trial: Trial, score: Callable[[Floats], Floats]) -> pl.DataFrame:
    """Score every item for every user with a relevant pair, and sort."""
    snapshot = trial.rates.at(trial.windows.test.cut)
    users, catalogue = trial.relevant[USER].unique().sort(), snapshot.entities[ITEM].index.ids
    excluded, places = _excluded(trial, users, catalogue), snapshot.entities[USER].index.codes(users)
    parts = []
    for start in range(0, len(users), _USERS_AT_ONCE):
        some = places[start : start + _USERS_AT_ONCE]
        scores = score(_rates_of(snapshot, _all_pairs(snapshot, some))).reshape(len(some), -1)
        scores[excluded[start : start + _USERS_AT_ONCE].nonzero()] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :LONGEST_LIST]
        at = np.repeat(np.arange(start, start + len(some)), best.shape[1])
        parts.append(_ranked(users.gather(at), catalogue.gather(best.ravel())))
    return pl.concat(parts)


def _all_pairs(snapshot: Snapshot, users: NDArray[np.int32]) -> Pairs:
    items = np.arange(len(snapshot.entities[ITEM].index), dtype=np.int32)
    links = {kind: np.tile(linked[items], len(users)) for kind, linked in snapshot.links.items()}
    return Pairs({USER: np.repeat(users, len(items)), ITEM: np.tile(items, len(users)), **links})


def _excluded(trial: Trial, users: pl.Series, catalogue: pl.Series) -> UserItems:
    seen = trial.seen.join(pl.DataFrame({USER: users}), on=USER, how="semi").unique(maintain_order=True)
    rows, columns = users.search_sorted(seen[USER]), catalogue.search_sorted(seen[ITEM])
    ones = np.ones(len(seen), np.float32)
    return interactions(rows.to_numpy(), columns.to_numpy(), ones, (len(users), len(catalogue)))


def _ranked(users: pl.Series, items: pl.Series) -> pl.DataFrame:
    ranked = pl.DataFrame({USER: users, ITEM: items})
    return ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over(USER))


def _user_folds(rows: pl.DataFrame) -> NDArray[np.int64]:
    users = distinct_codes(rows[USER])
    return np.random.default_rng(0).permutation(users.max() + 1)[users] % FOLDS


def say(dials: dict[str, Any]) -> str:
    """Write dials down."""
    return ", ".join(f"{name} {value:g}" for name, value in dials.items())


#: What the rows of the table are called, and how they are fitted; the first is ours.
MODELS: dict[str, Callable[[Trial], Forecast]] = {
    "recsys": ours,
    "LightGBM on rates and counts, beta-calibrated": gradient_boosting,
    "all rates and counts, no factors": baseline("all_rates"),
    "user and item rate": baseline("user_item_rate"),
    "implicit ALS + isotonic": als,
    "implicit LMF + isotonic": lmf,
    "base rate": base_rate,
}
