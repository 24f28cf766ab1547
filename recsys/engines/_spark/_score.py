"""Everyone's likeliest items, ranked and written where their records lie."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa

from recsys.engines._spark._arrow import collect, in_pieces, map_batches, to_batches
from recsys.engines._spark._records import USERS_AT_ONCE, factors_of, rows_of
from recsys.engines._spark._snapshots import Everyone
from recsys.features import Crowd, describe_members
from recsys.model import Wanted, WillLikeModel, pairs_of
from recsys.probability import ProbabilityHead
from recsys.schema import ITEM, USER, as_predictions
from recsys.split import known_before

#: Writes frames, and says where in a dataclass of `_WRITTEN`; None where there is no frame.
Write = Callable[[Iterator[pl.DataFrame]], Any]
_WRITTEN = {"file": "string", "sha256": "string", "rows": "bigint", "bytes": "bigint"}


@dataclass(frozen=True)
class Order:
    """What is to be ranked for everyone.

    Attributes
    ----------
    head : ProbabilityHead or None
    wanted : Wanted
        With one number of candidates.
    exclude : {"seen", "liked", "none"}
    day : datetime.date
    version : str
        Of the model.

    """

    head: ProbabilityHead | None
    wanted: Wanted
    exclude: str
    day: date
    version: str


def rank_everyone(everyone: Everyone, order: Order, write: Write) -> list[dict[str, Any]]:
    """Rank the items of every user, and write what each task finds.

    Parameters
    ----------
    everyone : Everyone
        At the cut up to which the log goes.
    order : Order
    write : callable
        Called once a task, on whatever machine, with frames of `recsys.schema.Predictions`.

    Returns
    -------
    list of dict
        `file`, `sha256`, `rows` and `bytes` of what the tasks wrote that succeeded; others may have written too.

    Notes
    -----
    Executors hold the factors and tables of all items, some users' records, and scores of these users with their
    candidates alone: MLlib's `recommendForAllUsers` computes, and moves, a score of every user with every item.
    """
    before, factors = everyone.before, everyone.factors
    table = factors.beside(before.records.table).sortWithinPartitions(USER)
    task = _RankAndWrite(everyone.crowd, factors.widths, before.records.settle, order, write)
    return collect(map_batches(table, task, _WRITTEN)).to_dicts()


@dataclass(frozen=True)
class _RankAndWrite:
    """Batches of records -> one row that says what was written."""

    crowd: Crowd
    widths: dict[str, int]
    settle: Any
    order: Order
    write: Write

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        written = self.write(self._rank(batches))
        if written is not None:
            yield from to_batches(pl.DataFrame([asdict(written)]).select(*_WRITTEN))

    def _rank(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pl.DataFrame]:
        order, candidates = self.order, self.order.wanted.candidates[0]
        for piece in in_pieces(batches, USERS_AT_ONCE):
            shown = rows_of(piece)
            known = known_before(shown, self.crowd.cut, self.settle)
            if known.is_empty():
                continue
            snapshot = describe_members(known, self.crowd, factors_of(piece, known, self.widths))
            # A task has one core.
            model = WillLikeModel(snapshot, order.head, threads=1)
            exclude = pairs_of(self._with_ids(shown), order.exclude)
            for part in model.recommend_in_parts(None, order.wanted, exclude=exclude):
                yield as_predictions(part[candidates], order.day, order.version)

    def _with_ids(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Put ids where places were; items that were not known before the cut are not recommended anyway."""
        places = pl.Series(self.crowd.anew[ITEM][rows[ITEM].to_numpy()])
        known = rows.filter(places >= 0)
        return known.with_columns(self.crowd.indices[ITEM].ids.gather(places.filter(places >= 0)).alias(ITEM))
