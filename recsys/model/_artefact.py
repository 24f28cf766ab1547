"""A model <-> files: JSON, parquet and safetensors, no pickle, nothing of this machine or moment."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load, save

from recsys.errors import InputError
from recsys.factors import Factors
from recsys.features import LINKS, EntityTable, Snapshot
from recsys.matrix import UNSEEN, IdIndex
from recsys.probability import BetaCalibrator, LogisticHead, ProbabilityHead
from recsys.schema import ITEM, USER

FACTORS, USERS, ITEMS, RATES = "factors.safetensors", "users.parquet", "items.parquet", "rates.parquet"
#: Raised whenever older files could not be read as they were meant.
FORMAT = 2
HEAD, CALIBRATOR = "head.json", "calibrator.json"


def to_files(snapshot: Snapshot, head: ProbabilityHead | None) -> dict[str, bytes]:
    """Write a model as named bytes.

    Parameters
    ----------
    snapshot : Snapshot
    head : ProbabilityHead or None
        None for a log of positives only.

    Returns
    -------
    dict of str to bytes
        Equal models give equal bytes.

    """
    return {
        FACTORS: _factors_bytes(snapshot),
        USERS: _parquet(_table(snapshot.entities[USER], USER)),
        ITEMS: _parquet(_items_table(snapshot)),
        RATES: _parquet(_rates_table(snapshot)),
        HEAD: _json(_head_values(snapshot, head)),
        CALIBRATOR: _json(_calibrator_values(head)),
    }


def from_files(files: Mapping[str, bytes]) -> tuple[Snapshot, ProbabilityHead | None]:
    """Read a model back.

    Parameters
    ----------
    files : mapping of str to bytes
        As `to_files` gave them; their hashes are the store's to check.

    Returns
    -------
    snapshot : Snapshot
    head : ProbabilityHead or None

    Raises
    ------
    InputError
        When the files have another format.

    """
    head, calibrator = json.loads(files[HEAD]), json.loads(files[CALIBRATOR])
    if head.get("format") != FORMAT:
        raise InputError(
            f"the model has format {head.get('format')}, this recsys reads {FORMAT}: train again"
        )
    users, items, rates = (pl.read_parquet(io.BytesIO(files[name])) for name in (USERS, ITEMS, RATES))
    arrays = load(files[FACTORS])
    names = tuple(head["entity_features"])
    kinds = head["entities"]
    entities = {kind: _read_table(kind, {USER: users, ITEM: items}.get(kind), rates, names) for kind in kinds}
    links = {
        kind: np.append(entities[kind].index.codes(items[kind]), np.int32(UNSEEN))
        for kind in LINKS
        if kind in kinds
    }
    factors = {name: Factors(arrays[f"{name}/users"], arrays[f"{name}/items"]) for name in head["signals"]}
    snapshot = Snapshot(
        datetime.fromisoformat(head["cut"]), factors, entities, links, tuple(head["skipped_signals"])
    )
    return snapshot, _read_head(head, calibrator)


def _factors_bytes(snapshot: Snapshot) -> bytes:
    arrays = {}
    for name, factors in snapshot.factors.items():
        arrays[f"{name}/users"] = np.ascontiguousarray(factors.user_factors)
        arrays[f"{name}/items"] = np.ascontiguousarray(factors.item_factors)
    return save(arrays)


def _table(table: EntityTable, kind: str) -> pl.DataFrame:
    known = table.values[:-1]
    features = {name: known[:, column] for column, name in enumerate(table.names)}
    return pl.DataFrame({kind: table.index.ids, **features})


def _items_table(snapshot: Snapshot) -> pl.DataFrame:
    frame = _table(snapshot.entities[ITEM], ITEM)
    for kind, links in snapshot.links.items():
        told = pl.Series(kind, np.where(links[:-1] == UNSEEN, 0, links[:-1]))
        ids = snapshot.entities[kind].index.ids.gather(told) if len(snapshot.entities[kind].index) else None
        unknown = pl.Series(links[:-1] == UNSEEN)
        frame = frame.with_columns(pl.when(~unknown).then(ids).alias(kind))
    return frame


def _rates_table(snapshot: Snapshot) -> pl.DataFrame:
    parts = []
    for kind, table in snapshot.entities.items():
        unseen = {name: [table.values[-1, column]] for column, name in enumerate(table.names)}
        parts.append(pl.DataFrame({"kind": [kind], "unseen": [True], **unseen}))
        if kind in LINKS:
            known = _table(table, kind)
            parts.append(known.with_columns(pl.lit(kind).alias("kind"), pl.lit(False).alias("unseen")))
    return pl.concat(parts, how="diagonal")


def _read_table(
    kind: str, own: pl.DataFrame | None, rates: pl.DataFrame, names: tuple[str, ...]
) -> EntityTable:
    mine = rates.filter(pl.col("kind") == kind)
    known = mine.filter(~pl.col("unseen")) if own is None else own
    values = np.vstack([frame.select(names).to_numpy() for frame in (known, mine.filter(pl.col("unseen")))])
    return EntityTable(IdIndex(known[kind]), names, values)


def _head_values(snapshot: Snapshot, head: ProbabilityHead | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "format": FORMAT,
        "cut": snapshot.cut.isoformat(),
        "entities": list(snapshot.entities),
        "entity_features": list(snapshot.entities[USER].names),
        "signals": list(snapshot.factors),
        "skipped_signals": list(snapshot.skipped),
        "kind": "none" if head is None else "logistic",
    }
    if head is not None:
        weights = dict(zip(head.head.names, head.head.weights.tolist(), strict=True))
        values |= {"weights": weights, "intercept": head.head.intercept, "base_rate": head.base_rate}
        values["floors"] = dict(head.head.floors)
    return values


def _calibrator_values(head: ProbabilityHead | None) -> dict[str, Any]:
    if head is None:
        return {"kind": "none"}
    return {"kind": "beta", **asdict(head.calibrator)}


def _read_head(head: dict[str, Any], calibrator: dict[str, Any]) -> ProbabilityHead | None:
    if head["kind"] == "none":
        return None
    weights = np.array(list(head["weights"].values()))
    return ProbabilityHead(
        LogisticHead(tuple(head["weights"]), weights, head["intercept"], head["floors"]),
        BetaCalibrator(
            calibrator["a"], calibrator["b"], calibrator["c"], tuple(map(tuple, calibrator["covariance"]))
        ),
        head["base_rate"],
    )


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    # Row groups follow chunks, and those depend on how the frame came about.
    frame.rechunk().write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
