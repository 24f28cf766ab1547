"""Rows as stored -> rows that may be used, and rows that broke a rule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from recsys.config import EventsSettings
from recsys.events._parse import parse_columns, parse_text_ids
from recsys.events._refuse import apply_rules
from recsys.events._roles import Roles, resolve_roles
from recsys.events._sources import Source, reading
from recsys.schema import FACTORS_ONLY, HISTORY_ONLY, LIKED


@dataclass(frozen=True)
class Accepted:
    """What became of the rows of a source, or of a part of one.

    Attributes
    ----------
    rows : polars.DataFrame
        Those that meet all rules, `row` (position in the log) and one column a role, in canonical types.
    broken : polars.DataFrame
        `row` and `reasons` of the others.
    roles : Roles
    read : int
        All of them.

    """

    rows: pl.DataFrame
    broken: pl.DataFrame
    roles: Roles
    read: int


def accept_rows(source: Source, settings: EventsSettings, as_of: datetime | None) -> Accepted:
    """Hold rows against the rules.

    Parameters
    ----------
    source : Source
        A log, or some rows of one.
    settings : EventsSettings
    as_of : datetime.datetime, optional
        With a zone. Only rows before it are looked at.

    Returns
    -------
    Accepted

    Raises
    ------
    InputError
        The log is unreadable.
    ConfigError
        A column is missing or misspelt, or a unit is in doubt.

    """
    roles = resolve_roles(source, settings, as_of)
    with reading(source.name):
        parsed = parse_text_ids(parse_columns(roles).collect(), roles)
        accepted, broken = apply_rules(parsed, roles)
    return Accepted(accepted, broken, roles, len(parsed))


def label_exposures(rows: pl.DataFrame) -> pl.DataFrame:
    """Give every exposure its like and the flags that say what it may feed.

    Parameters
    ----------
    rows : polars.DataFrame

    Returns
    -------
    polars.DataFrame
        With `liked`, `history_only` and `factors_only` as booleans. Without a column of likes all are liked, and
        feed factors only.

    """
    if LIKED not in rows.columns:
        rows = rows.with_columns(pl.lit(1.0).alias(LIKED), pl.lit(True).alias(FACTORS_ONLY))
    absent = [pl.lit(False).alias(name) for name in (HISTORY_ONLY, FACTORS_ONLY) if name not in rows.columns]
    return rows.with_columns(pl.col(LIKED) == 1.0, *absent)
