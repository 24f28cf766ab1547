"""What was known before a cut -> features of pairs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features._effects import Affinities
from recsys.features._names import AFFINITY, APPEAL, DOT, INTERPLAY, LATELY, TASTE
from recsys.matrix import IdIndex
from recsys.schema import EXPOSED, ITEM, LIKED, USER

_PAIRS_AT_ONCE = 32_768


@dataclass(frozen=True)
class EntityTable:
    """What is known about each user, item, creator or category.

    Attributes
    ----------
    index : IdIndex
        n ids.
    names : tuple of str
        d features.
    values : ndarray of float64, shape (n + 1, d)
        The last row is an entity never seen, which is where the place -1 points.
    effects : ndarray of float64, shape (n + 1, n_outcomes)
        Log-odds that each adds to the outcomes of `Snapshot.outcomes`; 0 for one never seen.

    """

    index: IdIndex
    names: tuple[str, ...]
    values: NDArray[np.float64]
    effects: NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """What the factorisations minimise: `recsys.config.ModelSettings` has the formula.

    Attributes
    ----------
    alpha : float
        Confidence is ``1 + alpha * strength``.
    regularization : float

    """

    alpha: float
    regularization: float


@dataclass(frozen=True)
class Pairs:
    """Pairs as places in a snapshot; -1 is unseen.

    Attributes
    ----------
    places : dict of str to ndarray of int32, shape (n,)
        For each kind of entity in the snapshot.

    """

    places: dict[str, NDArray[np.int32]]

    def where(self, rows: NDArray[np.int64] | slice) -> Pairs:
        """Take some of the pairs, in the order given."""
        return Pairs({kind: places[rows] for kind, places in self.places.items()})

    def in_pieces(self) -> list[tuple[slice, Pairs]]:
        """Cut them into pieces whose features fit into memory, each with where it lies."""
        size = len(self.places[USER])
        cuts = [slice(start, start + _PAIRS_AT_ONCE) for start in range(0, size, _PAIRS_AT_ONCE)]
        return [(cut, self.where(cut)) for cut in cuts]


@dataclass(frozen=True)
class Snapshot:
    """Everything that was known before `cut`.

    Attributes
    ----------
    cut : datetime.datetime
    factors : dict of str to Factors
        By signal: `exposed`, each declared signal, `liked`.
    entities : dict of str to EntityTable
        By id column: `user_id`, `item_id`, and `creator_id`, `category` where the log has them.
    links : dict of str to ndarray of int32, shape (n_items + 1,)
        Each item's creator and category; -1 is unknown.
    affinities : dict of str to Affinities
        By the kind that users are attached to: `creator_id`, `category`. A column an outcome.
    tastes : Factors
        How like an item is to what the user liked lately.
    als : Confidence
        Of every factorisation in `factors`.
    skipped : tuple of str
        Signals with too few positive rows before the cut.

    """

    cut: datetime
    factors: dict[str, Factors]
    entities: dict[str, EntityTable]
    links: dict[str, NDArray[np.int32]]
    affinities: dict[str, Affinities]
    tastes: Factors
    als: Confidence
    skipped: tuple[str, ...] = ()

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What rates and effects are of: `liked`, then each signal that was used."""
        return (LIKED, *(name for name in self.factors if name not in (LIKED, EXPOSED)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the pair features, in order."""
        tables = [f"{kind}:{name}" for kind, table in self.entities.items() for name in table.names]
        effects = [f"{APPEAL}{outcome}" for outcome in self.outcomes]
        affinities = [f"{kind}:{AFFINITY}{outcome}" for kind in self.affinities for outcome in self.outcomes]
        return (
            *tables,
            *effects,
            *affinities,
            *(f"{DOT}{signal}" for signal in self.factors),
            TASTE,
            INTERPLAY,
        )

    def place(self, pairs: pl.DataFrame) -> Pairs:
        """Find each pair's places, as `place_pairs` does."""
        return place_pairs({kind: table.index for kind, table in self.entities.items()}, self.links, pairs)

    def place_links(self, items: NDArray[np.int32], given: pl.DataFrame) -> dict[str, NDArray[np.int32]]:
        """Find the creator and category of items: as given, else as the log said.

        Parameters
        ----------
        items : ndarray of int32, shape (n,)
        given : polars.DataFrame of n rows

        Returns
        -------
        dict of str to ndarray of int32, shape (n,)

        """
        return _place_links(
            {kind: one.index for kind, one in self.entities.items()}, self.links, items, given
        )

    def pair_features(self, pairs: Pairs, names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Compute the features of pairs, for training and for serving.

        Parameters
        ----------
        pairs : Pairs of length n
        names : sequence of d str, optional
            Those that are wanted, in this order. Default: all.

        Returns
        -------
        ndarray of float64, shape (n, d)

        Notes
        -----
        ``appeal:y`` is the sum of the effects on y of the item, its creator and its category, and
        ``lately_by_appeal = user_id:lately:liked * appeal:liked``: log-odds do not quite add up, since what an
        item adds is less where users press often, and a head may weigh the product.

        """
        column = {name: place for place, name in enumerate(self.names if names is None else names)}
        features = np.empty((len(pairs.places[USER]), len(column)))
        for block, compute in self._blocks():
            taken = [(place, column[name]) for place, name in enumerate(block) if name in column]
            if taken:
                values = compute(pairs)
                for place, into in taken:
                    features[:, into] = values[:, place]
        return features

    def _blocks(self) -> Iterator[tuple[Sequence[str], Callable[[Pairs], NDArray[Any]]]]:
        """Name the features that are computed together, and say how: a column each."""
        for kind, table in self.entities.items():
            yield [f"{kind}:{name}" for name in table.names], partial(_look_up, table.values, kind)
        yield [*(f"{APPEAL}{outcome}" for outcome in self.outcomes), INTERPLAY], self._appeal
        for kind, one in self.affinities.items():
            names = [f"{kind}:{AFFINITY}{outcome}" for outcome in self.outcomes]
            yield names, partial(_look_up_both, one, kind)
        for signal, factors in self.factors.items():
            yield [f"{DOT}{signal}"], partial(_score, factors)
        yield [TASTE], partial(_score, self.tastes)

    def _appeal(self, pairs: Pairs) -> NDArray[np.float64]:
        of_user = self.entities[USER]
        others = [_look_up(one.effects, kind, pairs) for kind, one in self.entities.items() if kind != USER]
        appeal = np.sum(others, axis=0)
        lately = of_user.values[pairs.places[USER], of_user.names.index(f"{LATELY}{LIKED}")]
        return np.column_stack([appeal, lately * appeal[:, self.outcomes.index(LIKED)]])

    def write_features(
        self, pairs: Pairs, names: Sequence[str], out: NDArray[np.float64], threads: int = 0
    ) -> None:
        """Compute some of the features of pairs, a piece at a time.

        Parameters
        ----------
        pairs : Pairs of length n
        names : sequence of d str
        out : ndarray of float64, shape (n, d)
            Where they are written.
        threads : int
            0 means one a core. No result depends on it.

        """

        def write(piece: tuple[slice, Pairs]) -> None:
            rows, some = piece
            out[rows] = self.pair_features(some, names)

        with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
            list(pool.map(write, pairs.in_pieces()))


def _look_up(values: NDArray[np.float64], kind: str, pairs: Pairs) -> NDArray[np.float64]:
    return values[pairs.places[kind]]


def _look_up_both(affinities: Affinities, kind: str, pairs: Pairs) -> NDArray[np.float32]:
    return affinities.of(pairs.places[USER], pairs.places[kind])


def _score(factors: Factors, pairs: Pairs) -> NDArray[np.float32]:
    scores = factors.scores(pairs.places[USER], pairs.places[ITEM]) / np.float32(factors.typical_score)
    return scores[:, None]


def place_pairs(
    indices: Mapping[str, IdIndex], links: Mapping[str, NDArray[np.int32]], pairs: pl.DataFrame
) -> Pairs:
    """Find each pair's places.

    Parameters
    ----------
    indices : mapping of str to IdIndex
        By kind of entity.
    links : mapping of str to ndarray of int32, shape (n_items + 1,)
    pairs : polars.DataFrame
        `user_id`, `item_id`; a `creator_id` or `category` beats what the log said of the item.

    Returns
    -------
    Pairs

    """
    places = {kind: indices[kind].codes(pairs[kind]) for kind in (USER, ITEM)}
    return Pairs(places | _place_links(indices, links, places[ITEM], pairs))


def _place_links(
    indices: Mapping[str, IdIndex],
    links: Mapping[str, NDArray[np.int32]],
    items: NDArray[np.int32],
    given: pl.DataFrame,
) -> dict[str, NDArray[np.int32]]:
    found = {}
    for kind, linked in links.items():
        found[kind] = linked[items]
        if kind in given.columns:
            codes = indices[kind].codes(given[kind])
            found[kind] = np.where(given[kind].is_null().to_numpy(), found[kind], codes)
    return found
