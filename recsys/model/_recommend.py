"""Users and a catalogue -> each user's likeliest items."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features import Pairs
from recsys.matrix import IdIndex
from recsys.model._candidates import (
    Asked,
    Candidates,
    Proposer,
    propose_candidates,
    rank_crowd,
    readable_signals,
)
from recsys.model._rank import score_factors
from recsys.model._score import Scorer
from recsys.model._select import Wanted, pairs_of_candidates, place_best, take_best
from recsys.model._tables import exclusion_matrix
from recsys.schema import ITEM, LIKED, USER

_USER_CHUNK = 2_048
#: Candidates of one proposer, all users of a chunk together.
_PROPOSED_CHUNK = 500 * _USER_CHUNK


def rank_by_candidates(
    scorer: Scorer, users: IdIndex, catalogue: pl.DataFrame, exclude: pl.DataFrame, wanted: Wanted
) -> Iterator[dict[int, pl.DataFrame]]:
    """Rank every user's likeliest items, once for each number of candidates; every pair is scored once.

    Parameters
    ----------
    scorer : Scorer
    users : IdIndex
    catalogue : polars.DataFrame
        From `list_items`.
    exclude : polars.DataFrame
        Pairs `user_id`, `item_id` not to recommend.
    wanted : Wanted

    Yields
    ------
    dict of int to polars.DataFrame
        By number of candidates, for some users after the other; at least once.

    """
    snapshot, ids = scorer.snapshot, catalogue[ITEM]
    left_out = exclusion_matrix(users, ids, exclude)
    places = snapshot.entities[ITEM].index.codes(ids)
    eligible = Pairs({ITEM: places, **snapshot.place_links(places, catalogue)})
    size = max(1, min(_USER_CHUNK, _PROPOSED_CHUNK // max(wanted.proposed)))
    codes = snapshot.entities[USER].index.codes(users.ids)
    propose = _ready_to_propose(scorer, eligible, max(wanted.proposed))
    for start in range(0, max(1, len(users)), size):
        some = slice(start, start + size)
        asked = Asked(codes[some], eligible, left_out[some])
        ranked = _rank(scorer, users.ids[some], ids, asked, propose(asked), wanted)
        yield dict(zip(wanted.candidates, ranked, strict=True))


def _rank(
    scorer: Scorer,
    user_ids: pl.Series,
    item_ids: pl.Series,
    asked: Asked,
    proposed: Candidates,
    wanted: Wanted,
) -> list[pl.DataFrame]:
    """Rank the candidates of some users, once for each number proposed."""
    pairs = pairs_of_candidates(asked, proposed)
    order = scorer.order(pairs)
    found = []
    for number in wanted.proposed:
        best = place_best(proposed, pairs, order, wanted, number)
        chosen = proposed.where(best)
        scored = pl.DataFrame(scorer.columns(pairs.where(best), order[best]))
        scored = _with_ids(scored, user_ids, item_ids, chosen, order[best])
        found.append(take_best(scored, wanted.n))
    return found


def _ready_to_propose(scorer: Scorer, items: Pairs, n: int) -> Callable[[Asked], Candidates]:
    """Do once what is the same for all users, whom n items a proposer are proposed."""
    snapshot, places = scorer.snapshot, items.places[ITEM]
    if scorer.head is None:

        def by_score(asked: Asked) -> Candidates:
            # Each factorisation is its own best proposer.
            factors = score_factors(snapshot, LIKED, asked.users, asked.items)
            return Candidates.of(factors.top_n(n, asked.exclude, scorer.threads))

        return by_score
    crowd = rank_crowd(scorer.order_for_nobody(items))
    signals = readable_signals(scorer.head.head.names)
    proposers = [Proposer.of(snapshot.factors[signal], places, n) for signal in signals]
    return lambda asked: propose_candidates(asked, crowd, proposers, n, scorer.threads)


def _with_ids(
    scored: pl.DataFrame,
    user_ids: pl.Series,
    item_ids: pl.Series,
    chosen: Candidates,
    order: NDArray[np.float64],
) -> pl.DataFrame:
    return scored.select(
        user_ids.gather(chosen.users).alias(USER),
        item_ids.gather(chosen.items).alias(ITEM),
        pl.all(),
        pl.Series("order", order),
        pl.Series("user_place", chosen.users),
        pl.Series("item_place", chosen.items),
    )
