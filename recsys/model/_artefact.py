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
from numpy.typing import NDArray
from safetensors.numpy import load, save

from recsys.errors import InputError
from recsys.factors import Factors
from recsys.features import LINKS, Affinities, Confidence, EntityTable, Snapshot
from recsys.matrix import UNSEEN, IdIndex
from recsys.probability import BetaCalibrator, BoostedHead, Head, LogisticHead, ProbabilityHead
from recsys.schema import ITEM, USER

FACTORS, USERS, ITEMS, RATES = "factors.safetensors", "users.parquet", "items.parquet", "rates.parquet"
#: Raised whenever older files could not be read as they were meant.
FORMAT = 4
HEAD, CALIBRATOR, TREES = "head.json", "calibrator.json", "trees.txt"
_MET, _TASTES, _EFFECT = "affinity", "taste:lately", "effect:"
_LOGISTIC = ("weights", "lows", "highs", "means")


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
    trees = {TREES: head.head.text.encode()} if head and isinstance(head.head, BoostedHead) else {}
    return {
        FACTORS: _factors_bytes(snapshot),
        USERS: _parquet(_table(snapshot, USER)),
        ITEMS: _parquet(_items_table(snapshot)),
        RATES: _parquet(_rates_table(snapshot)),
        HEAD: _json(_head_values(snapshot, head)),
        CALIBRATOR: _json(_calibrator_values(head)),
        **trees,
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
    own, outcomes = {USER: users, ITEM: items}, tuple(head["outcomes"])
    entities = {
        kind: _read_table(kind, own.get(kind), rates, tuple(names), outcomes)
        for kind, names in head["entities"].items()
    }
    links = {
        kind: np.append(entities[kind].index.codes(items[kind]), np.int32(UNSEEN))
        for kind in LINKS
        if kind in entities
    }
    snapshot = Snapshot(
        datetime.fromisoformat(head["cut"]),
        {name: _read_factors(arrays, name) for name in head["signals"]},
        entities,
        links,
        {
            kind: Affinities(
                len(entities[kind].index), arrays[f"{_MET}/{kind}/keys"], arrays[f"{_MET}/{kind}/values"]
            )
            for kind in links
        },
        _read_factors(arrays, _TASTES),
        Confidence(**head["als"]),
        tuple(head["skipped_signals"]),
    )
    return snapshot, _read_head(head, calibrator, files.get(TREES, b""))


def _read_factors(arrays: dict[str, Any], name: str) -> Factors:
    return Factors(arrays[f"{name}/users"], arrays[f"{name}/items"])


def _factors_bytes(snapshot: Snapshot) -> bytes:
    arrays = {}
    for name, factors in {**snapshot.factors, _TASTES: snapshot.tastes}.items():
        arrays[f"{name}/users"] = np.ascontiguousarray(factors.user_factors)
        arrays[f"{name}/items"] = np.ascontiguousarray(factors.item_factors)
    for kind, met in snapshot.affinities.items():
        arrays[f"{_MET}/{kind}/keys"] = np.ascontiguousarray(met.keys)
        arrays[f"{_MET}/{kind}/values"] = np.ascontiguousarray(met.values)
    return save(arrays)


def _table(snapshot: Snapshot, kind: str) -> pl.DataFrame:
    return pl.DataFrame({kind: snapshot.entities[kind].index.ids, **_columns(snapshot, kind, slice(0, -1))})


def _columns(snapshot: Snapshot, kind: str, rows: slice) -> dict[str, NDArray[np.float64]]:
    table = snapshot.entities[kind]
    features = {name: table.values[rows, column] for column, name in enumerate(table.names)}
    effects = {
        f"{_EFFECT}{outcome}": table.effects[rows, column] for column, outcome in enumerate(snapshot.outcomes)
    }
    return features | effects


def _items_table(snapshot: Snapshot) -> pl.DataFrame:
    frame = _table(snapshot, ITEM)
    for kind, links in snapshot.links.items():
        told = pl.Series(kind, np.where(links[:-1] == UNSEEN, 0, links[:-1]))
        ids = snapshot.entities[kind].index.ids.gather(told) if len(snapshot.entities[kind].index) else None
        unknown = pl.Series(links[:-1] == UNSEEN)
        frame = frame.with_columns(pl.when(~unknown).then(ids).alias(kind))
    return frame


def _rates_table(snapshot: Snapshot) -> pl.DataFrame:
    parts = []
    for kind in snapshot.entities:
        unseen = _columns(snapshot, kind, slice(-1, None))
        parts.append(pl.DataFrame({"kind": [kind], "unseen": [True], **unseen}))
        if kind in LINKS:
            known = _table(snapshot, kind)
            parts.append(known.with_columns(pl.lit(kind).alias("kind"), pl.lit(False).alias("unseen")))
    return pl.concat(parts, how="diagonal")


def _read_table(
    kind: str,
    own: pl.DataFrame | None,
    rates: pl.DataFrame,
    names: tuple[str, ...],
    outcomes: tuple[str, ...],
) -> EntityTable:
    mine = rates.filter(pl.col("kind") == kind)
    known = mine.filter(~pl.col("unseen")) if own is None else own
    rows = (known, mine.filter(pl.col("unseen")))
    effects = [f"{_EFFECT}{outcome}" for outcome in outcomes]
    values, added = (
        np.vstack([frame.select(columns).to_numpy() for frame in rows]) for columns in (names, effects)
    )
    return EntityTable(IdIndex(known[kind]), names, values, added)


def _head_values(snapshot: Snapshot, head: ProbabilityHead | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "format": FORMAT,
        "cut": snapshot.cut.isoformat(),
        "entities": {kind: list(table.names) for kind, table in snapshot.entities.items()},
        "outcomes": list(snapshot.outcomes),
        "signals": list(snapshot.factors),
        "skipped_signals": list(snapshot.skipped),
        "als": asdict(snapshot.als),
        "kind": "none",
    }
    if head is None:
        return values
    values |= {"base_rate": head.base_rate, "negatives_kept": head.negatives_kept}
    values |= {"features": list(head.head.names)}
    if isinstance(head.head, LogisticHead):
        arrays = {name: getattr(head.head, name).tolist() for name in _LOGISTIC}
        return {**values, "kind": "logistic", "intercept": head.head.intercept, **arrays}
    return {**values, "kind": "gbm"}


def _calibrator_values(head: ProbabilityHead | None) -> dict[str, Any]:
    if head is None:
        return {"kind": "none"}
    return {"kind": "beta", **asdict(head.calibrator)}


def _read_head(head: dict[str, Any], calibrator: dict[str, Any], trees: bytes) -> ProbabilityHead | None:
    if head["kind"] == "none":
        return None
    names = tuple(head["features"])
    fitted: Head
    if head["kind"] == "gbm":
        fitted = BoostedHead(names, trees.decode())
    else:
        weights, *rest = (np.array(head[name]) for name in _LOGISTIC)
        fitted = LogisticHead(names, weights, head["intercept"], *rest)
    return ProbabilityHead(
        fitted,
        BetaCalibrator(
            calibrator["a"], calibrator["b"], calibrator["c"], tuple(map(tuple, calibrator["covariance"]))
        ),
        head["base_rate"],
        head["negatives_kept"],
    )


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    # Row groups follow chunks, and those depend on how the frame came about.
    frame.rechunk().write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
