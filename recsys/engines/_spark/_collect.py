"""The snapshot of everyone, on the driver: what a published model is.

It holds, of each user, their factors of every signal, a dozen numbers, and what they make of the creators and
categories that they met: at 64 factors and three signals about a kilobyte, so 100 million users are 100 GB. Beyond what
the driver holds there is no one model file; `rank_everyone` needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.engines._spark._arrow import collect
from recsys.engines._spark._snapshots import Everyone
from recsys.factors import Factors
from recsys.features import Affinities, Crowd, EntityTable, Snapshot, describe_members
from recsys.matrix import IdIndex
from recsys.schema import USER

_VALUES, _EFFECTS, _TASTES = "values", "effects", "tastes"


def collect_snapshot(everyone: Everyone, sample: Snapshot) -> Snapshot:
    """Take the snapshot of all users.

    Parameters
    ----------
    everyone : Everyone
    sample : Snapshot
        Of some of them, at the same cut.

    Returns
    -------
    Snapshot

    """
    crowd, user_id = everyone.crowd, dict(everyone.before.records.table.dtypes)[USER]
    kernel = _Describe(crowd)
    found = collect(everyone.before.map_known(kernel, kernel.schema(user_id), everyone.factors)).sort(USER)
    index = IdIndex(found[USER])
    table = sample.entities[USER]
    unseen = {_VALUES: table.values[-1:], _EFFECTS: table.effects[-1:]}
    values, effects = (np.vstack([_rows(found[name], row.shape[1]), row]) for name, row in unseen.items())
    factors = {
        name: Factors(_rows(found[_factors(name)], items.shape[1]).astype(np.float32), items)
        for name, items in crowd.item_factors.items()
    }
    tastes = Factors(
        _rows(found[_TASTES], sample.tastes.item_factors.shape[1]).astype(np.float32),
        sample.tastes.item_factors,
    )
    return Snapshot(
        crowd.cut,
        factors,
        {USER: EntityTable(index, table.names, values, effects), **crowd.tables},
        crowd.links,
        {
            kind: _affinities(found, kind, len(crowd.indices[kind]), len(crowd.outcomes))
            for kind in sample.affinities
        },
        tastes,
        sample.als,
        crowd.skipped,
    )


@dataclass(frozen=True)
class _Describe:
    """Rows and factors of users -> one row a user, with all that a snapshot says of it."""

    crowd: Crowd

    def schema(self, user_id: str) -> dict[str, str]:
        """Name its columns and their types in Spark."""
        factors = dict.fromkeys((*map(_factors, self.crowd.item_factors), _TASTES), "array<float>")
        met = {name(kind): kinds for kind in self.crowd.links for name, kinds in _MET.items()}
        return {USER: user_id, _VALUES: "array<double>", _EFFECTS: "array<double>", **factors, **met}

    def __call__(self, known: pl.DataFrame, user_factors: Mapping[str, NDArray[np.float32]]) -> pl.DataFrame:
        snapshot = describe_members(known, self.crowd, user_factors)
        table = snapshot.entities[USER]
        columns: dict[str, NDArray[Any]] = {_VALUES: table.values[:-1], _EFFECTS: table.effects[:-1]}
        columns |= {_factors(name): one.user_factors for name, one in snapshot.factors.items()}
        columns[_TASTES] = snapshot.tastes.user_factors
        told = pl.DataFrame(
            [table.index.ids.alias(USER), *(_lists(name, rows) for name, rows in columns.items())]
        )
        told = told.with_row_index("place")
        for kind, met in snapshot.affinities.items():
            told = told.join(_met_by_user(kind, met), on="place", how="left", maintain_order="left")
        return told


def _others(kind: str) -> str:
    return f"met:{kind}"


def _attached(kind: str) -> str:
    return f"affinity:{kind}"


def _factors(signal: str) -> str:
    return f"factors:{signal}"


_MET = {_others: "array<int>", _attached: "array<float>"}


def _met_by_user(kind: str, met: Affinities) -> pl.DataFrame:
    """List, by user, whom it met and what it makes of them, one after the other."""
    users, others = np.divmod(met.keys, max(met.others, 1))
    rows = pl.DataFrame(
        {
            "place": pl.Series(users).cast(pl.UInt32),
            _others(kind): others.astype(np.int32),
            _attached(kind): _lists("", met.values),
        }
    )
    return rows.group_by("place", maintain_order=True).agg(
        pl.col(_others(kind)), pl.col(_attached(kind)).explode()
    )


def _affinities(found: pl.DataFrame, kind: str, others: int, outcomes: int) -> Affinities:
    met = (
        found.with_row_index("place")
        .select("place", _others(kind), _attached(kind))
        .drop_nulls(_others(kind))
    )
    pairs = met.select("place", _others(kind)).explode(_others(kind))
    keys = pairs["place"].cast(pl.Int64).to_numpy() * others + pairs[_others(kind)].to_numpy()
    values = met[_attached(kind)].explode().cast(pl.Float32).to_numpy().reshape(-1, outcomes)
    return Affinities(others, keys.astype(np.int64), values)


def _lists(name: str, rows: NDArray[Any]) -> pl.Series:
    width = rows.shape[1]
    return pl.Series(name, np.ascontiguousarray(rows), dtype=pl.Array(_dtype(rows), width)).arr.to_list()


def _dtype(rows: NDArray[Any]) -> type[pl.Float32] | type[pl.Float64]:
    return pl.Float32 if rows.dtype == np.float32 else pl.Float64


def _rows(lists: pl.Series, width: int) -> NDArray[np.float64]:
    return lists.explode().to_numpy().reshape(len(lists), width)
