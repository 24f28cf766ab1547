"""A head and the calibrator fitted on users that it did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_expit

from recsys.config import ModelSettings
from recsys.errors import DataError
from recsys.matrix import one_blas_thread
from recsys.probability._beta import BetaCalibrator, Interval, clustered_covariance, fit_beta_calibrator
from recsys.probability._boosted import ROUNDS, BoostedHead, fit_boosted
from recsys.probability._contributions import Contributions
from recsys.probability._logistic import PENALTIES, Design
from recsys.schema import LIKED


class Head(Protocol):
    """What every head can do."""

    @property
    def names(self) -> tuple[str, ...]:
        """The d features that it reads."""
        ...

    def logit(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute log-odds, shape (n,), of features, shape (n, d)."""
        ...

    def contributions(self, features: NDArray[np.float64]) -> Contributions:
        """Split log-odds into what each feature adds."""
        ...


@dataclass(frozen=True)
class ProbabilityHead:
    """A head and its calibrator.

    Attributes
    ----------
    head : Head
    calibrator : BetaCalibrator
    base_rate : float
        Like rate of the exposures they were fitted on.
    negatives_kept : float
        Share of the unliked exposures that the log kept, in (0, 1].

    """

    head: Head
    calibrator: BetaCalibrator
    base_rate: float
    negatives_kept: float = 1.0

    def predict(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute will_like among exposures as logged.

        Parameters
        ----------
        features : ndarray, shape (n, d)
            Columns `head.names`.

        Returns
        -------
        ndarray of float64, shape (n,)
            In [1e-7, 1 - 1e-7].

        """
        return self.calibrator.apply(self.head.logit(features))

    def will_like(self, logit: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute will_like among all exposures from the head's log-odds.

        Parameters
        ----------
        logit : ndarray, shape (n,)

        Returns
        -------
        ndarray of float64, shape (n,)

        """
        return self.among_all(self.calibrator.apply(logit))

    def interval(self, logit: NDArray[np.float64]) -> Interval:
        """Compute the interval of `will_like`."""
        logged = self.calibrator.interval(logit)
        return Interval(self.among_all(logged.low), self.among_all(logged.high))

    def among_all(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo the sampling of unliked exposures: ``p = q / (q + (1 - q) / s)``."""
        return q / (q + (1 - q) / self.negatives_kept) if self.negatives_kept < 1 else q


@dataclass(frozen=True)
class Lessons:
    """What a head learns from.

    Attributes
    ----------
    features : ndarray of float64, shape (n, d)
    liked : ndarray of bool, shape (n,)
    users : ndarray of int, shape (n,)
        Any code a user.
    names : sequence of d str
    weights : ndarray of float64, shape (n,)
        How often each row counts: an exposure seen from two cuts is two rows of half.
    outcome : str
        What the labels are of; other than a like in the audit only.

    """

    features: NDArray[np.float64]
    liked: NDArray[np.bool_]
    users: NDArray[np.int32]
    names: Sequence[str]
    weights: NDArray[np.float64]
    outcome: str = LIKED

    def where(self, kept: NDArray[np.bool_]) -> Lessons:
        """Keep some of the rows."""
        rows = {name: getattr(self, name)[kept] for name in ("features", "liked", "users", "weights")}
        return replace(self, **rows)


@dataclass(frozen=True)
class _Fitted:
    """A head fitted on all rows, what heads fitted on the other users said of each, and its penalty or trees."""

    head: Head
    calibrator: BetaCalibrator
    held_out: NDArray[np.float64]
    loss: float
    complexity: float


def fit_probability_head(
    lessons: Lessons, settings: ModelSettings, *, negatives_kept: float = 1.0, threads: int = 0
) -> ProbabilityHead:
    """Fit the head on logged exposures with their true zeros, its calibrator on users it did not see.

    Parameters
    ----------
    lessons : Lessons
    settings : ModelSettings
        `head`, `l2`, `folds` and `seed`.
    negatives_kept : float, optional
        Share of the unliked exposures that the log kept.
    threads : int, optional
        0 means one a core. The result does not depend on it.

    Returns
    -------
    ProbabilityHead

    Raises
    ------
    DataError
        When only one label is there.

    Notes
    -----
    Each of `folds` heads is fitted on the other folds' users and predicts its own; the calibrator is
    fitted on those predictions; the head that serves is then fitted on all rows. The ridge penalty of the logistic
    head, and the number of trees, are those of the lowest log loss on the held-out users. ``head = "auto"`` takes
    the kind whose calibrated held-out predictions have the lower log loss. Without features every kind is the same
    constant, and is kept as a logistic head.

    """
    with one_blas_thread():
        best = _fit_best(lessons, settings, threads)
        covariance = clustered_covariance(
            best.calibrator, best.held_out, lessons.liked, lessons.users, lessons.weights
        )
    base_rate = float(np.average(lessons.liked, weights=lessons.weights))
    return ProbabilityHead(
        best.head, replace(best.calibrator, covariance=covariance), base_rate, negatives_kept
    )


def choose_complexity(lessons: Lessons, settings: ModelSettings, threads: int = 0) -> float:
    """Choose the ridge penalty, or the number of trees, that predicts held-out users best.

    Parameters
    ----------
    lessons : Lessons
    settings : ModelSettings
        Whose `head` is not auto.
    threads : int, optional

    Returns
    -------
    float
        For `settings.l2`, or `settings.rounds`.

    Raises
    ------
    DataError
        As `fit_probability_head`.

    """
    with one_blas_thread():
        return _fit_best(lessons, settings, threads).complexity


def _fit_best(lessons: Lessons, settings: ModelSettings, threads: int) -> _Fitted:
    liked = lessons.liked
    if liked.all() or not liked.any():
        raise DataError("a head needs liked and unliked exposures")
    folds = user_folds(lessons.users, settings.folds, settings.seed)
    for fold in np.unique(folds):
        rest = liked[folds != fold]
        if rest.all() or not rest.any():
            raise DataError(_too_few_users(lessons, settings.folds))
    fitted = [_FITTERS[kind](lessons, folds, settings, threads) for kind in _kinds(settings.head, lessons)]
    return min(fitted, key=lambda one: one.loss)


def _too_few_users(lessons: Lessons, folds: int) -> str:
    liked, unliked = (len(np.unique(lessons.users[rows])) for rows in (lessons.liked, ~lessons.liked))
    return (
        f"too few users to hold out a fold of {folds}: of {len(np.unique(lessons.users)):,} in the calibrate window "
        f"{liked:,} have a liked exposure and {unliked:,} an unliked one; lengthen windows.calibrate, or lower "
        "model.folds"
    )


def _kinds(head: str, lessons: Lessons) -> tuple[Literal["logistic", "gbm"], ...]:
    if not lessons.names:
        # Every kind is then a constant, which LightGBM refuses to fit.
        return ("logistic",)
    kinds: tuple[Literal["logistic", "gbm"], ...] = ("logistic", "gbm")
    return kinds if head == "auto" else tuple(kind for kind in kinds if kind == head)


def _fit_logistic(
    lessons: Lessons, folds: NDArray[np.int64], settings: ModelSettings, threads: int
) -> _Fitted:
    def design(rows: NDArray[np.int64] | None = None) -> Design:
        return Design.of(lessons.features, lessons.liked, lessons.names, lessons.weights, rows)

    penalties = PENALTIES if settings.l2 is None else (settings.l2,)
    by_penalty = np.zeros((len(penalties), len(folds)))
    for fold in np.unique(folds):
        own = folds == fold
        rest, features = design(np.flatnonzero(~own)), lessons.features[own]
        by_penalty[:, own] = [rest.fit(l2, lessons.outcome, threads).logit(features) for l2 in penalties]
    best = int(np.argmin([_log_loss(logit, lessons) for logit in by_penalty]))
    head = design().fit(penalties[best], lessons.outcome, threads)
    return _calibrate(head, by_penalty[best], lessons, penalties[best])


def _fit_boosted(
    lessons: Lessons, folds: NDArray[np.int64], settings: ModelSettings, threads: int
) -> _Fitted:
    seed, tried = settings.seed, ROUNDS if settings.rounds is None else (settings.rounds,)

    def fit(part: Lessons, rounds: int) -> BoostedHead:
        return fit_boosted(part.features, part.liked, part.names, rounds, part.weights, seed, threads)

    by_rounds = np.zeros((len(tried), len(folds)))
    for fold in np.unique(folds):
        own = folds == fold
        grown = fit(lessons.where(~own), tried[-1])
        by_rounds[:, own] = grown.logit_by_rounds(lessons.features[own], tried)
    losses = [_log_loss(logit, lessons) for logit in by_rounds]
    best = int(np.argmin(losses))
    return _calibrate(fit(lessons, tried[best]), by_rounds[best], lessons, tried[best])


_FITTERS: dict[str, Callable[[Lessons, NDArray[np.int64], ModelSettings, int], _Fitted]] = {
    "logistic": _fit_logistic,
    "gbm": _fit_boosted,
}


def _calibrate(head: Head, held_out: NDArray[np.float64], lessons: Lessons, complexity: float) -> _Fitted:
    calibrator = fit_beta_calibrator(held_out, lessons.liked, lessons.weights)
    return _Fitted(head, calibrator, held_out, _log_loss(calibrator.log_odds(held_out), lessons), complexity)


def _log_loss(logit: NDArray[np.float64], lessons: Lessons) -> float:
    losses = -log_expit(np.where(lessons.liked, logit, -logit))
    return float(np.average(losses, weights=lessons.weights))


def user_folds(users: NDArray[np.int32], folds: int, seed: int) -> NDArray[np.int64]:
    """Deal users into folds, shape (n,): a user's rows are all in one."""
    codes, inverse = np.unique(users, return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    return shuffled[inverse] % folds
