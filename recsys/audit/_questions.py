"""What is asked of every arm: an outcome under a head, and the rungs of the ladder."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from recsys.audit._looks import Look
from recsys.audit._plan import Plan
from recsys.audit._rows import AuditRows
from recsys.config import ModelSettings
from recsys.features import OF_CROWD, OF_HABIT, RATE, as_numbers, reads, reads_likes
from recsys.matrix import IdIndex
from recsys.probability import (
    FLOOR,
    Lessons,
    choose_complexity,
    fit_logistic,
    fit_probability_head,
    user_folds,
)
from recsys.schema import ITEM, LIKED, USER

_FOLDS = 5
#: Trees cost thirty times what a regression does, and their calibrator hardly moves with the number of folds.
_BOOSTED_FOLDS = 2
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Answer:
    """A forecast and what it read.

    Attributes
    ----------
    forecast : ndarray of float64, shape (n_score,)
        Probabilities in [1e-7, 1 - 1e-7].
    names : tuple of str
        Features of the head that was fitted.

    """

    forecast: NDArray[np.float64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """An outcome under a head, asked of every arm with the same settings.

    Attributes
    ----------
    outcome : str
    settings : ModelSettings
        Penalty or number of trees fixed.
    names : tuple of str
        Features that may be read.
    labels : ndarray of float64, shape (n_learn,)
        NaN is unknown.
    users : ndarray of int32, shape (n_learn,)

    """

    outcome: str
    settings: ModelSettings
    names: tuple[str, ...]
    labels: NDArray[np.float64]
    users: NDArray[np.int32]

    def answer(self, look: Look, use: Callable[[str], bool] = lambda name: True) -> Answer:
        """Learn from a look and forecast its scored rows.

        Parameters
        ----------
        look : Look
        use : callable of str to bool
            Which of the features this arm has.

        Returns
        -------
        Answer

        """
        names = [name for name in self.names if use(name)]
        columns = [look.names.index(name) for name in names]
        head = fit_probability_head(self.lessons(look, names), self.settings, threads=1)
        pieces = [
            head.head.logit(look.score[start : start + _ROWS_AT_ONCE][:, columns])
            for start in range(0, len(look.score), _ROWS_AT_ONCE)
        ]
        return Answer(head.calibrator.apply(np.concatenate(pieces)), head.head.names)

    def lessons(self, look: Look, names: list[str]) -> Lessons:
        """Take what a head learns from."""
        known = ~np.isnan(self.labels)
        columns = [look.names.index(name) for name in names]
        labels = self.labels[known] > 0
        features = look.learn[:, columns][known]
        return Lessons(features, labels, self.users[known], names, np.ones(len(labels)), self.outcome)


def ask(rows: AuditRows, plan: Plan, look: Look, threads: int) -> dict[str, Question]:
    """Prepare the questions; penalties and trees are those that suit behaviour alone.

    Parameters
    ----------
    rows : AuditRows
    plan : Plan
    look : Look
        Whose behaviour chooses.
    threads : int

    Returns
    -------
    dict of str to Question
        By ``outcome/head``.

    """
    asked = [(outcome, head) for outcome, heads in plan.outcomes.items() for head in heads]
    with ThreadPoolExecutor(threads) as pool:
        # A thread a question: threads that share one spin while they wait for each other.
        found = pool.map(lambda one: _choose_settings(rows, plan, look, *one), asked)
        return {f"{outcome}/{head}": one for (outcome, head), one in zip(asked, found, strict=True)}


def _choose_settings(rows: AuditRows, plan: Plan, look: Look, outcome: str, head: str) -> Question:
    users = IdIndex.of(rows.learn[USER]).codes(rows.learn[USER])
    names = tuple(name for name in look.names if reads(name) or name in rates_of(outcome))
    behaviour = [name for name in names if not reads_likes(name)]
    folds = min(plan.model.folds, _BOOSTED_FOLDS) if head == "gbm" else plan.model.folds
    settings = plan.model.model_copy(update={"head": head, "folds": folds})
    question = Question(outcome, settings, names, rows.labels(rows.learn, outcome), users)
    chosen = choose_complexity(question.lessons(look, behaviour), settings, threads=1)
    fixed = {"l2": chosen} if head == "logistic" else {"rounds": int(chosen)}
    return replace(question, settings=settings.model_copy(update=fixed))


def rates_of(outcome: str) -> tuple[str, str]:
    """Name the rates of an outcome, of user and of item."""
    return f"{USER}:{RATE}{outcome}", f"{ITEM}:{RATE}{outcome}"


#: Each rung reads what the one below does and more: behaviour, habit, crowd, the rest.
MAY_READ: dict[str, Callable[[str], bool]] = {
    "R1": lambda name: not reads_likes(name),
    "R2": lambda name: not reads_likes(name) or name in OF_HABIT,
    "R3": lambda name: not reads_likes(name) or name in OF_HABIT + OF_CROWD,
    "R4": lambda name: True,
}


@dataclass(frozen=True)
class Climb:
    """The ladder's models: logistic heads fitted on other users' labels.

    Attributes
    ----------
    names : tuple of str
    l2 : float
    liked : ndarray of bool, shape (n_learn,)
    learn_users, score_users : ndarray of int, shape (n_learn,) and (n_score,)
    same_learn, same_score : ndarray of float64, shape (n_learn, k) and (n_score, k)
        Behaviour on the exposure itself, for R5.

    """

    names: tuple[str, ...]
    l2: float
    liked: NDArray[np.bool_]
    learn_users: NDArray[np.int64]
    score_users: NDArray[np.int64]
    same_learn: NDArray[np.float64]
    same_score: NDArray[np.float64]

    def folds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Deal the users of both windows into folds: of the learned rows, and of the scored ones."""
        both = np.concatenate([self.learn_users, self.score_users])
        dealt = user_folds(both.astype(np.int32), _FOLDS, seed=0)
        return dealt[: len(self.learn_users)], dealt[len(self.learn_users) :]

    def users_in_both(self) -> int:
        """Count the scored users whose own labels a head that forecasts them learned from."""
        learn, score = self.folds()
        return sum(
            len(np.intersect1d(self.learn_users[learn != fold], self.score_users[score == fold]))
            for fold in range(_FOLDS)
        )

    def forecast(self, look: Look, rung: str) -> NDArray[np.float64]:
        """Forecast the scored rows from a rung, R1 to R5, shape (n_score,); pairs beyond them are left out."""
        use = MAY_READ.get(rung, MAY_READ["R4"])
        columns = [look.names.index(name) for name in self.names if use(name)]
        names = [look.names[column] for column in columns]
        learn, score = look.learn[:, columns], look.score[: len(self.score_users)][:, columns]
        if rung == "R5":
            names += [f"same:{place}" for place in range(self.same_learn.shape[1])]
            learn, score = np.hstack([learn, self.same_learn]), np.hstack([score, self.same_score])
        folds, own = self.folds()
        found = np.empty(len(score))
        for fold in range(_FOLDS):
            rest = folds != fold
            head = fit_logistic(learn[rest], self.liked[rest], names, self.l2)
            found[own == fold] = expit(head.logit(score[own == fold]))
        return np.clip(found, FLOOR, 1 - FLOOR)


def prepare_climb(rows: AuditRows, plan: Plan, look: Look) -> Climb:
    """Prepare the ladder: its penalty is the one that suits behaviour alone."""
    question = _choose_settings(rows, plan, look, LIKED, "logistic")
    users = IdIndex.of(pl.concat([rows.learn[USER], rows.score[USER]]))
    learn, score = (users.codes(table[USER]).astype(np.int64) for table in (rows.learn, rows.score))
    same = (_same_exposure(table, rows) for table in (rows.learn, rows.score))
    return Climb(question.names, float(question.settings.l2 or 0), question.labels > 0, learn, score, *same)


def _same_exposure(table: pl.DataFrame, rows: AuditRows) -> NDArray[np.float64]:
    """Describe what was done on the exposure apart from the press: ln(1 + x), its square, and whether x is unknown."""
    columns = []
    for name in dict.fromkeys((*rows.log.signals, *rows.log.outcomes)):
        values = as_numbers(table, name)
        unknown = np.isnan(values)
        log = np.log1p(np.where(unknown, 0.0, values))
        columns += [log, log**2, unknown.astype(np.float64)]
    return np.column_stack(columns) if columns else np.empty((len(table), 0))
