"""Which settings are tried: Optuna proposes, the folds answer, a trial without hope is stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.errors import ConfigError
from recsys.matrix import one_blas_thread
from recsys.tuning._journal import Journal
from recsys.tuning._objective import Objective
from recsys.tuning._space import Dimension, apply, place

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

_log = logging.getLogger("recsys")
#: Trials that must have ended before one is stopped for being worse than their median.
_BEFORE_PRUNING = 5
FOLDS, ERROR = "folds", "standard_error"


@dataclass
class Search:
    """A study of one base's surroundings.

    Attributes
    ----------
    objective : Objective
    base : ModelSettings
        Trial 0.
    space : dict of str to Dimension
    kept : dict of int to ndarray
        Losses of trial 0 and of the best so far, row by row.

    """

    objective: Objective
    base: ModelSettings
    space: dict[str, Dimension]
    kept: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    def run(self, trials: int, timeout: float | None, journal: Journal) -> list[FrozenTrial]:
        """Go on until there are so many trials, or the time is up.

        Parameters
        ----------
        trials : int
            Of the study, those in the journal included.
        timeout : float or None
            Seconds after which no trial begins, but for the base.
        journal : Journal

        Returns
        -------
        list of FrozenTrial
            At most `trials`, in order.

        """
        began = time.monotonic()
        study = self._resume(journal.trials()[:trials])
        while (number := len(study.trials)) < trials:
            if number and timeout is not None and time.monotonic() - began >= timeout:
                _log.info("the time is up after %d of %d trials", number, trials)
                break
            self._try(study, number)
            journal.add(study.trials[number])
            self._tell(study, trials)
        return study.trials

    def settings(self, trial: FrozenTrial) -> ModelSettings:
        """Give the settings that a trial stands for."""
        return self.base if trial.number == 0 else apply(self.space, self.base, trial.params)

    def losses(self, trial: FrozenTrial) -> NDArray[np.float64]:
        """Give the losses of a whole trial, as kept or computed again."""
        if trial.number not in self.kept:
            self.kept[trial.number] = np.concatenate(list(self.objective.losses(self.settings(trial))))
        return self.kept[trial.number]

    def _resume(self, finished: list[FrozenTrial]) -> Study:
        optuna = import_optuna()
        pruner = optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING)
        study: Study = optuna.create_study(direction="minimize", pruner=pruner)
        study.add_trials(finished)
        if finished:
            _log.info("%d trials are there already", len(finished), extra={"event": "resumed"})
        return study

    def _try(self, study: Study, number: int) -> None:
        if number == 0:
            return self._add_base(study)
        # Seeded by number: a study that was interrupted proposes what an uninterrupted one would have.
        seed = int(np.random.SeedSequence([self.base.seed, number]).generate_state(1)[0])
        study.sampler = import_optuna().samplers.TPESampler(seed=seed)
        with one_blas_thread():
            trial = study.ask({name: one.distribution() for name, one in self.space.items()})
        losses = self._losses_unless_hopeless(trial)
        pruned = import_optuna().trial.TrialState.PRUNED
        if losses is None:
            study.tell(trial, state=pruned)
            return None
        study.tell(trial, self.objective.entropy(losses))
        self._keep(study, number, losses)
        return None

    def _losses_unless_hopeless(self, trial: Trial) -> list[NDArray[np.float64]] | None:
        found: list[NDArray[np.float64]] = []
        model = apply(self.space, self.base, trial.params)
        for losses in self.objective.losses(model):
            found.append(losses)
            trial.set_user_attr(FOLDS, self._fold_entropies(found))
            trial.report(self.objective.entropy(found), step=len(found))
            if len(found) < len(self.objective.folds) and trial.should_prune():
                return None
        trial.set_user_attr(ERROR, self.objective.entropy_error(np.concatenate(found)))
        return found

    def _add_base(self, study: Study) -> None:
        # Not asked for: settings without a place in the space (no half-life) are tried as they are.
        losses = list(self.objective.losses(self.base))
        pooled = [self.objective.entropy(losses[:step]) for step in range(1, len(losses) + 1)]
        numbers = place(self.space, self.base)
        attributes = {
            FOLDS: self._fold_entropies(losses),
            ERROR: self.objective.entropy_error(np.concatenate(losses)),
        }
        study.add_trial(
            import_optuna().trial.create_trial(
                params=numbers,
                distributions={name: self.space[name].distribution() for name in numbers},
                value=pooled[-1],
                intermediate_values=dict(enumerate(pooled, start=1)),
                user_attrs=attributes,
            )
        )
        self._keep(study, 0, losses)

    def _fold_entropies(self, losses: list[NDArray[np.float64]]) -> list[float]:
        return [self.objective.entropy_of_fold(place, one) for place, one in enumerate(losses)]

    def _keep(self, study: Study, number: int, losses: list[NDArray[np.float64]]) -> None:
        self.kept[number] = np.concatenate(losses)
        wanted = {0, best_of(study.trials).number}
        self.kept = {number: one for number, one in self.kept.items() if number in wanted}

    def _tell(self, study: Study, trials: int) -> None:
        last, best = study.trials[-1], best_of(study.trials)
        said = (
            "stopped early" if last.value is None or last.state.name != "COMPLETE" else f"NE {last.value:.4f}"
        )
        told = {"event": "trial", "trial": last.number, "state": last.state.name.lower()}
        line = "trial %d: %s (best: %.4f, trial %d; %d of %d done)"
        _log.info(line, last.number, said, best.value, best.number, last.number + 1, trials, extra=told)


def best_of(trials: list[FrozenTrial]) -> FrozenTrial:
    """Find the whole trial with the lowest normalised entropy; the earliest of equals."""
    whole = [trial for trial in trials if trial.state.name == "COMPLETE"]
    return min(whole, key=lambda trial: (_value(trial), trial.number))


def _value(trial: FrozenTrial) -> float:
    return float("inf") if trial.value is None else trial.value


def import_optuna() -> ModuleType:
    """Import Optuna where it is installed.

    Raises
    ------
    ConfigError
        Saying how to install it.

    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise ConfigError("tuning needs Optuna: pip install 'recsys[tune]'") from None
    return optuna


@contextmanager
def silenced() -> Iterator[None]:
    """Keep Optuna from printing: what happens is told by the logger of recsys."""
    logging_: Any = import_optuna().logging
    before = logging_.get_verbosity()
    logging_.set_verbosity(logging_.ERROR)
    try:
        yield
    finally:
        logging_.set_verbosity(before)
