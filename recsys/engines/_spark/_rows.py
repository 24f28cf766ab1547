"""A snapshot <-> one row a user, and the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.factors import Factors
from recsys.features import Affinities, EntityTable, Snapshot
from recsys.matrix import IdIndex
from recsys.schema import USER

_VALUES, _EFFECTS, _TASTES = "values", "effects", "tastes"
_PLACE = "place"


def row_types(snapshot: Snapshot, user_id: str) -> dict[str, str]:
    """Name the columns of `user_rows`, and their types in Spark.

    Parameters
    ----------
    snapshot : Snapshot
    user_id : str
        Spark's type of the users' ids.

    Returns
    -------
    dict of str to str

    """
    factors = dict.fromkeys((*map(_factors, snapshot.factors), _TASTES), "array<float>")
    met = {name(kind): lists for kind in snapshot.affinities for name, lists in _MET.items()}
    return {USER: user_id, _VALUES: "array<double>", _EFFECTS: "array<double>", **factors, **met}


def user_rows(snapshot: Snapshot) -> pl.DataFrame:
    """Write down all that a snapshot says of each of its users.

    Parameters
    ----------
    snapshot : Snapshot

    Returns
    -------
    polars.DataFrame
        Ascending by `user_id`; the other columns are lists, null where a user met no creator or category.

    """
    table = snapshot.entities[USER]
    columns: dict[str, NDArray[Any]] = {_VALUES: table.values[:-1], _EFFECTS: table.effects[:-1]}
    columns |= {_factors(name): one.user_factors for name, one in snapshot.factors.items()}
    columns[_TASTES] = snapshot.tastes.user_factors
    lists = [_lists(name, rows) for name, rows in columns.items()]
    told = pl.DataFrame([table.index.ids.alias(USER), *lists]).with_row_index(_PLACE)
    for kind, met in snapshot.affinities.items():
        told = told.join(_met_by_user(kind, met), on=_PLACE, how="left", maintain_order="left")
    return told.drop(_PLACE)


def without_users(snapshot: Snapshot) -> Snapshot:
    """Keep all that is not about a user that was seen; scores stay in units of everyone's.

    Parameters
    ----------
    snapshot : Snapshot

    Returns
    -------
    Snapshot

    """

    def emptied(factors: Factors) -> Factors:
        return replace(factors, user_factors=factors.user_factors[:0], unit=factors.typical_score)

    table = snapshot.entities[USER]
    nobody = EntityTable(IdIndex(table.index.ids.clear()), table.names, table.values[-1:], table.effects[-1:])
    return replace(
        snapshot,
        factors={name: emptied(one) for name, one in snapshot.factors.items()},
        entities={**snapshot.entities, USER: nobody},
        affinities={
            kind: Affinities(met.others, met.keys[:0], met.values[:0])
            for kind, met in snapshot.affinities.items()
        },
        tastes=emptied(snapshot.tastes),
    )


def with_users(rest: Snapshot, rows: pl.DataFrame) -> Snapshot:
    """Put users back.

    Parameters
    ----------
    rest : Snapshot
        From `without_users`.
    rows : polars.DataFrame
        Some of `user_rows`, in any order.

    Returns
    -------
    Snapshot

    """
    rows, nobody = rows.sort(USER), rest.entities[USER]

    def peopled(factors: Factors, name: str) -> Factors:
        users = _matrix(rows[name], factors.item_factors.shape[1]).astype(np.float32)
        return replace(factors, user_factors=users)

    values, effects = (
        np.vstack([_matrix(rows[name], unseen.shape[1]), unseen])
        for name, unseen in {_VALUES: nobody.values, _EFFECTS: nobody.effects}.items()
    )
    return replace(
        rest,
        factors={name: peopled(one, _factors(name)) for name, one in rest.factors.items()},
        entities={**rest.entities, USER: EntityTable(IdIndex(rows[USER]), nobody.names, values, effects)},
        affinities={kind: _affinities(rows, kind, met) for kind, met in rest.affinities.items()},
        tastes=peopled(rest.tastes, _TASTES),
    )


def _factors(signal: str) -> str:
    return f"factors:{signal}"


def _others(kind: str) -> str:
    return f"met:{kind}"


def _attached(kind: str) -> str:
    return f"affinity:{kind}"


_MET = {_others: "array<int>", _attached: "array<float>"}


def _met_by_user(kind: str, met: Affinities) -> pl.DataFrame:
    """List, by user, whom it met, and what it makes of them one after the other."""
    users, others = np.divmod(met.keys, max(met.others, 1))
    rows = pl.DataFrame(
        {
            _PLACE: pl.Series(users).cast(pl.get_index_type()),
            _others(kind): others.astype(np.int32),
            _attached(kind): _lists("", met.values),
        }
    )
    whom, what = pl.col(_others(kind)), pl.col(_attached(kind)).explode()
    return rows.group_by(_PLACE, maintain_order=True).agg(whom, what)


def _affinities(rows: pl.DataFrame, kind: str, nobody: Affinities) -> Affinities:
    met = rows.with_row_index(_PLACE).select(_PLACE, _others(kind), _attached(kind)).drop_nulls(_others(kind))
    pairs = met.select(_PLACE, _others(kind)).explode(_others(kind))
    keys = pairs[_PLACE].cast(pl.Int64).to_numpy() * nobody.others + pairs[_others(kind)].to_numpy()
    values = met[_attached(kind)].explode().cast(pl.Float32).to_numpy()
    return Affinities(nobody.others, keys.astype(np.int64), values.reshape(-1, nobody.values.shape[1]))


def _lists(name: str, rows: NDArray[Any]) -> pl.Series:
    dtype = pl.Float32 if rows.dtype == np.float32 else pl.Float64
    return pl.Series(name, np.ascontiguousarray(rows), dtype=pl.Array(dtype, rows.shape[1])).arr.to_list()


def _matrix(lists: pl.Series, width: int) -> NDArray[Any]:
    return lists.explode().to_numpy().reshape(len(lists), width)
