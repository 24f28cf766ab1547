"""What is searched: one dimension a setting of the model, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from recsys.config import ModelSettings
from recsys.errors import UsageError, nearest

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_DIGITS = 3


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, both included.

    Attributes
    ----------
    low, high : float
        In the unit of the setting.
    log : bool
        Search evenly over the logarithm.
    whole : bool

    Examples
    --------
    >>> Range(1, 100).setting(23.4567), Range(24, 48, whole=True).setting(36)
    (23.5, 36)

    """

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def number(self, setting: Any) -> float | None:
        """Place a setting on this dimension; None when it has no place (a setting left to be chosen)."""
        if setting is None:
            return None
        return max(1, round(setting)) if self.whole else float(setting)

    def setting(self, number: Any) -> Any:
        """Turn a number of this dimension into the setting, to three significant digits."""
        return int(number) if self.whole else float(f"{number:.{_DIGITS}g}")

    def holding(self, setting: Any) -> Range:
        """Widen the bounds to hold a setting: the user's own may lie outside."""
        number = self.number(setting)
        if number is None:
            return self
        return replace(self, low=min(self.low, number), high=max(self.high, number))

    def distribution(self) -> BaseDistribution:
        """Say it in Optuna's words."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(math.floor(self.low), math.ceil(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    options: tuple[str, ...]

    def number(self, setting: Any) -> str | None:
        """Find a setting among the options; None when it is none of them."""
        return setting if setting in self.options else None

    def setting(self, number: Any) -> Any:
        """Give the option itself."""
        return number

    def holding(self, setting: Any) -> Choice:
        """Leave the options as they are."""
        return self

    def distribution(self) -> BaseDistribution:
        """Say it in Optuna's words."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.options)


Dimension: TypeAlias = Range | Choice


def default_space() -> dict[str, Dimension]:
    """List what `recsys tune` searches.

    Returns
    -------
    dict of str to Dimension
        By the setting's name in `[model]`.

    Examples
    --------
    >>> default_space()["factors"]
    Range(low=8, high=256, log=True, whole=True)

    """
    return {
        "factors": Range(8, 256, whole=True),
        "regularization": Range(1e-3, 10),
        "alpha": Range(1, 100),
        "iterations": Range(5, 30, log=False, whole=True),
        "half_life": Range(3, 300),
        "head": Choice(_heads()),
    }


def _heads() -> tuple[str, ...]:
    """Name the heads that can be asked for; `auto` chooses among them, and is not one itself."""
    options = get_args(ModelSettings.model_fields["head"].annotation)
    return tuple(option for option in options if option != "auto")


def searched(space: Mapping[str, Dimension], base: ModelSettings) -> dict[str, Dimension]:
    """Prepare a space for a search that begins at given settings.

    Parameters
    ----------
    space : mapping of str to Dimension
    base : ModelSettings

    Returns
    -------
    dict of str to Dimension
        Wide enough to hold the base; without dimensions that leave no choice.

    Raises
    ------
    UsageError
        When a dimension names no setting of the model.

    """
    for name in space:
        if name not in ModelSettings.model_fields:
            raise UsageError(
                f"{name!r} is not a setting of the model: {nearest(name, ModelSettings.model_fields)}"
            )
    free = {name: one for name, one in space.items() if not _is_settled(one, getattr(base, name))}
    return {name: one.holding(getattr(base, name)) for name, one in free.items()}


def _is_settled(dimension: Dimension, setting: Any) -> bool:
    return isinstance(dimension, Choice) and dimension.options == (setting,)


def place(space: Mapping[str, Dimension], model: ModelSettings) -> dict[str, Any]:
    """Find settings in a space; those that have no place in it are left out."""
    numbers = {name: one.number(getattr(model, name)) for name, one in space.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def apply(space: Mapping[str, Dimension], base: ModelSettings, numbers: Mapping[str, Any]) -> ModelSettings:
    """Put a point of a space in the place of the base's settings."""
    chosen = {name: space[name].setting(number) for name, number in numbers.items()}
    return ModelSettings.model_validate({**base.model_dump(), **chosen})
