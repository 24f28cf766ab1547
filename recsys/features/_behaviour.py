"""What was known before a cut apart from likes -> snapshots, with the likes of the log or with others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import ModelSettings
from recsys.engines import Engine
from recsys.factors import Factors
from recsys.features._carry import carry_factors
from recsys.features._describe import (
    History,
    Told,
    as_numbers,
    attach_users,
    build_tables,
    compare_tastes,
    describe_exposures,
    describe_last_like,
    describe_outcome,
)
from recsys.features._effects import LINKS, Met, NumberedPairs
from recsys.features._names import ENTITIES
from recsys.features._snapshot import Confidence, Pairs, Snapshot, place_pairs
from recsys.matrix import UNSEEN, IdIndex, interactions, one_blas_thread, strengths
from recsys.schema import EXPOSED, FACTORS_ONLY, ITEM, LIKED, USER


@dataclass(frozen=True)
class Behaviour:
    """Everything that was known before a cut, apart from likes.

    Attributes
    ----------
    history : History of n rows
        Its likes are not read.
    settings : ModelSettings
    factors : dict of str to Factors
        By signal: `exposed`, then each declared one.
    met : Met
    pairs : dict of str to NumberedPairs
        Of user and creator, user and category.
    told : dict of str to Told
        By declared signal.
    exposures : dict of str to dict of str to ndarray
        Columns by kind of entity and name.
    start : Snapshot, optional
        An earlier one, from whose factors those of the same signals start.

    """

    history: History
    settings: ModelSettings
    factors: dict[str, Factors]
    met: Met
    pairs: dict[str, NumberedPairs]
    told: dict[str, Told]
    exposures: dict[str, dict[str, NDArray[np.float64]]]
    start: Snapshot | None = None

    def add_likes(self, liked: NDArray[np.bool_], engine: Engine, skipped: tuple[str, ...] = ()) -> Snapshot:
        """Take the snapshot that these likes would give.

        Parameters
        ----------
        liked : ndarray of bool, shape (n,)
            Of the rows of `history.known`.
        engine : Engine
        skipped : tuple of str
            Signals with too few positive rows.

        Returns
        -------
        Snapshot

        """
        history = self.history
        shown = np.where(history.shown, liked.astype(float), np.nan)
        of_likes = self._factorise(LIKED, liked.astype(np.float64), engine, order=1 + len(self.told))
        with one_blas_thread():
            told = {LIKED: describe_outcome(history, self.met, self.pairs, shown), **self.told}
            tables = build_tables(history, told, self.exposures, describe_last_like(history, liked))
            tastes = compare_tastes(history, liked, self.factors[EXPOSED])
        return Snapshot(
            history.cut,
            {**self.factors, LIKED: of_likes},
            tables,
            history.links,
            attach_users(history, self.pairs, told),
            tastes,
            Confidence(self.settings.alpha, self.settings.regularization),
            skipped,
        )

    def place(self, pairs: pl.DataFrame) -> Pairs:
        """Find where in the tables each pair stands; no likes change it."""
        return place_pairs(self.history.indices, self.history.links, pairs)

    def start_again(self, seed: int, engine: Engine) -> Behaviour:
        """Factorise from other starting factors; all else is the same."""
        settings = self.settings.model_copy(update={"seed": seed})
        again = replace(self, settings=settings, factors={})
        return replace(again, factors=again.factorise_signals(engine))

    def thin(self, kept: NDArray[np.bool_], engine: Engine) -> Behaviour:
        """Forget the behaviour on some rows; likes that are added will still be those of all.

        Parameters
        ----------
        kept : ndarray of bool, shape (n,)
            Of the rows of `history.known`.
        engine : Engine

        Returns
        -------
        Behaviour

        """
        forgotten = pl.col(FACTORS_ONLY) | ~pl.Series(kept)
        fewer = replace(self.history, known=self.history.known.with_columns(forgotten.alias(FACTORS_ONLY)))
        with one_blas_thread():
            told = {
                name: describe_outcome(fewer, self.met, self.pairs, fewer.successes(name))
                for name in self.told
            }
            thinned = replace(self, told=told, exposures=describe_exposures(fewer))
        return replace(thinned, factors=thinned.factorise_signals(engine, kept))

    def factorise_signals(self, engine: Engine, kept: NDArray[np.bool_] | None = None) -> dict[str, Factors]:
        """Factorise `exposed` and each declared signal, on the kept rows or, by default, all."""
        known = self.history.known
        values = {EXPOSED: np.ones(len(known))} | {name: as_numbers(known, name) for name in self.told}
        if kept is not None:
            values = {name: np.where(kept, value, np.nan) for name, value in values.items()}
        return {
            name: self._factorise(name, value, engine, order)
            for order, (name, value) in enumerate(values.items())
        }

    def _factorise(self, name: str, value: NDArray[np.float64], engine: Engine, order: int) -> Factors:
        places, sizes = self.history.places, self.history.indices
        strength = strengths(value)
        shape = (len(sizes[USER]), len(sizes[ITEM]))
        matrix = interactions(places[USER], places[ITEM], strength, shape)
        seed = spawn_seed(self.settings.seed, order)
        start = None
        if self.start is not None:
            start = carry_factors(self.start, name, sizes, self.settings.factors)
        return engine.fit(matrix, self.settings, seed, start)


def observe_behaviour(
    known: pl.DataFrame,
    cut: datetime,
    signals: tuple[str, ...],
    settings: ModelSettings,
    engine: Engine,
    numbered: Mapping[str, IdIndex] | None = None,
    start: Snapshot | None = None,
) -> Behaviour:
    """Fit factors and describe entities on what was known before a cut, apart from likes.

    Parameters
    ----------
    known : polars.DataFrame
        Sorted by time, user and item; at least one row.
    cut : datetime.datetime
    signals : tuple of str
        Columns of `known` that are factorised and described.
    settings : ModelSettings
    engine : Engine
    numbered : mapping of str to IdIndex, optional
        Of a log whose ids are numbered already: `known` has places in these indices where others have ids.
    start : Snapshot, optional
        An earlier one, from whose factors to start.

    Returns
    -------
    Behaviour

    """
    indices, places = {}, {}
    for kind in (kind for kind in ENTITIES if kind in known.columns):
        if numbered is None:
            indices[kind] = IdIndex.of(known[kind])
            places[kind] = indices[kind].codes(known[kind])
        else:
            indices[kind], places[kind] = numbered[kind].narrow(known[kind].to_numpy())
    links = {kind: _last_links(places, kind, len(indices[ITEM])) for kind in LINKS if kind in indices}
    # From here on everybody goes by place.
    history = History(known.drop(indices), cut, indices, places, links, settings.half_life)
    linked = {kind: found[places[ITEM]] for kind, found in links.items()}
    sizes = {kind: len(index) for kind, index in indices.items()}
    met = Met({**{kind: places[kind] for kind in (USER, ITEM)}, **linked}, sizes)
    pairs = {kind: met.pairs(kind) for kind in LINKS if kind in linked}
    # The optimisers work on small matrices: BLAS threads make them ten times slower.
    with one_blas_thread():
        told = {name: describe_outcome(history, met, pairs, history.successes(name)) for name in signals}
        exposures = describe_exposures(history)
    alone = Behaviour(history, settings, {}, met, pairs, told, exposures, start)
    return replace(alone, factors=alone.factorise_signals(engine))


def spawn_seed(seed: int, order: int) -> int:
    # Not seed + order: then the second signal of one seed would start as the first of the next.
    return int(np.random.SeedSequence([seed, order]).generate_state(1)[0] >> 1)


def _last_links(places: dict[str, NDArray[np.int32]], kind: str, n_items: int) -> NDArray[np.int32]:
    """Find each item's last known creator or category, shape (n_items + 1,), in rows that are in order of time."""
    told = places[kind] != UNSEEN
    links = np.full(n_items + 1, UNSEEN, dtype=np.int32)
    links[places[ITEM][told]] = places[kind][told]
    return links
