"""The boosted head: LightGBM's trees, kept as its own text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.probability._contributions import Contributions

if TYPE_CHECKING:
    import lightgbm

#: Trees that are tried; the number is chosen on held-out users.
ROUNDS = tuple(range(10, 201, 10))
_PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.06,
    "num_leaves": 8,
    "min_data_in_leaf": 100,
    "min_sum_hessian_in_leaf": 5.0,
    "lambda_l2": 10.0,
    "max_bin": 63,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
_PARAMETERS_BEGIN, _PARAMETERS_END = "\nparameters:", "end of parameters\n"


@dataclass(frozen=True)
class BoostedHead:
    """Gradient-boosted trees.

    Attributes
    ----------
    names : tuple of str
        d features, by name.
    text : str
        The model as LightGBM writes it, without the parameters of its training.

    """

    names: tuple[str, ...]
    text: str

    def logit(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute log-odds.

        Parameters
        ----------
        features : ndarray, shape (n, d)

        Returns
        -------
        ndarray of float64, shape (n,)

        """
        if not len(features):
            return np.empty(0)
        return np.asarray(self._booster.predict(features, raw_score=True))

    def logit_by_rounds(self, features: NDArray[np.float64], rounds: Sequence[int]) -> NDArray[np.float64]:
        """Compute log-odds after each number of trees, which ascend, shape (len(rounds), n)."""
        predict, steps = self._booster.predict, np.diff(rounds, prepend=0).tolist()
        added = [
            predict(features, raw_score=True, start_iteration=end - step, num_iteration=step)
            for end, step in zip(rounds, steps, strict=True)
        ]
        return np.cumsum(np.array(added), axis=0)

    def contributions(self, features: NDArray[np.float64]) -> Contributions:
        """Split log-odds into what each feature adds to those of the average exposure of the fit.

        Parameters
        ----------
        features : ndarray, shape (n, d)

        Returns
        -------
        Contributions

        References
        ----------
        Lundberg et al. (2020). From local explanations to global understanding with explainable AI for trees.
        Nature Machine Intelligence 2(1).

        """
        split = np.asarray(self._booster.predict(features, pred_contrib=True))
        return Contributions(float(split[0, -1]), split[:, :-1])

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        booster: lightgbm.Booster = _import_lightgbm().Booster(model_str=self.text)
        return booster


def fit_boosted(
    features: NDArray[np.float64],
    liked: NDArray[np.bool_],
    names: Sequence[str],
    rounds: int,
    weights: NDArray[np.float64],
    seed: int,
    threads: int = 0,
) -> BoostedHead:
    """Fit gradient-boosted trees to the log loss.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    liked : ndarray of bool, shape (n,)
    names : sequence of d str
    rounds : int
        Trees.
    weights : ndarray, shape (n,)
        How often each row counts.
    seed : int
    threads : int
        0 means one a core. The trees do not depend on it.

    Returns
    -------
    BoostedHead

    Raises
    ------
    ConfigError
        When LightGBM cannot be loaded.

    """
    lightgbm = _import_lightgbm()
    parameters = {**_PARAMETERS, "seed": seed, "num_threads": threads}
    data = lightgbm.Dataset(features, liked.astype(float), weight=weights, params=parameters)
    text = lightgbm.train(parameters, data, num_boost_round=rounds).model_to_string()
    return BoostedHead(tuple(names), _without_parameters(text))


def _without_parameters(text: str) -> str:
    """Leave out the number of threads, and whatever else of the training is not in the trees."""
    begin, end = text.index(_PARAMETERS_BEGIN), text.index(_PARAMETERS_END)
    return text[:begin] + "\n" + text[end + len(_PARAMETERS_END) :]


def _import_lightgbm() -> Any:
    try:
        import lightgbm
    except OSError as error:
        raise ConfigError(
            f'head = "gbm" needs LightGBM, which cannot load: {error}; install libgomp1, or set '
            'model.head = "logistic"'
        ) from None
    return lightgbm
