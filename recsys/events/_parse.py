"""Values as stored -> canonical types. What cannot be read becomes null; an unreadable number, NaN."""

from __future__ import annotations

import polars as pl

from recsys.errors import ConfigError
from recsys.events._roles import EVENT_TYPE, Roles
from recsys.events._text import id_figures, number_from_text, read_ids
from recsys.events._times import TEXT
from recsys.schema import CATEGORY, CREATED, CREATOR, HISTORY_ONLY, IS_RANDOM, ITEM, ROW, SESSION, TIME, USER

_EXACT = 2.0**53
# The ids of a CSV are integers when all but these few are.
_STRAY = 0.01


def parse_columns(roles: Roles) -> pl.LazyFrame:
    """Read every role into its canonical type; the times already are.

    Parameters
    ----------
    roles : Roles

    Returns
    -------
    polars.LazyFrame
        Same rows and columns.

    Raises
    ------
    ConfigError
        When a column's type cannot play its role.

    """
    stored = roles.rows.collect_schema()
    apart = {ROW, TIME, CREATED, *roles.groups}
    parsed = [_parse(role, kind).alias(role) for role, kind in stored.items() if role not in apart]
    return roles.rows.with_columns(parsed + [_labels(name) for name in roles.groups])


def parse_text_ids(parsed: pl.DataFrame, roles: Roles) -> pl.DataFrame:
    """Read the ids of a CSV as integers where they are integers.

    Parameters
    ----------
    parsed : polars.DataFrame
    roles : Roles

    Returns
    -------
    polars.DataFrame
        Same rows and columns. A user or item that is no integer among integers becomes null.

    """
    stray = {USER: _STRAY, ITEM: _STRAY, CREATOR: 0.0, CATEGORY: 0.0, SESSION: 0.0}
    asked = [role for role in stray if role in roles.texts]
    figures = {figure: count for role in asked for figure, count in id_figures(role).items()}
    counted = roles.totals("ids", parsed.lazy(), figures) if asked else {}
    return parsed.with_columns(read_ids(role, counted, stray[role]) for role in asked)


def _parse(role: str, kind: pl.DataType) -> pl.Expr:
    raw = pl.col(role)
    if role in (USER, ITEM, CREATOR, CATEGORY, SESSION):
        return _ids(raw, kind, role)
    if role == EVENT_TYPE:
        return _texts(raw, kind, role)
    if role == HISTORY_ONLY:
        # What is marked in a way that cannot be read is not let into a window either.
        return (_numbers(raw, kind, role) != 0.0).fill_null(False)
    if role == IS_RANDOM:
        # What is not known to be drawn at random was chosen by somebody.
        return (_numbers(raw, kind, role) == 1.0).fill_null(False)
    return _numbers(raw, kind, role)


def _ids(raw: pl.Expr, kind: pl.DataType, role: str) -> pl.Expr:
    if kind.is_integer():
        return raw
    if kind.is_numeric():
        number = raw.cast(pl.Float64)
        whole = number.is_finite() & (number == number.floor()) & (number.abs() < _EXACT)
        return pl.when(whole).then(number).cast(pl.Int64)
    return _texts(raw, kind, role)


def _texts(raw: pl.Expr, kind: pl.DataType, role: str) -> pl.Expr:
    if kind not in TEXT and not (role == EVENT_TYPE and kind.is_integer()):
        raise ConfigError(f"{role!r} must be an integer or a string, its column is {kind}")
    text = raw.cast(pl.String)
    return pl.when(text != "").then(text)


def _labels(name: str) -> pl.Expr:
    label = pl.col(name).cast(pl.String)
    return pl.when(label != "").then(label)


def _numbers(raw: pl.Expr, kind: pl.DataType, role: str) -> pl.Expr:
    if kind == pl.Boolean or kind.is_numeric() or kind == pl.Null:
        return raw.cast(pl.Float64)
    if kind not in TEXT:
        raise ConfigError(f"{role!r} must be a boolean or a number, its column is {kind}")
    text = raw.cast(pl.String)
    return pl.when(text != "").then(number_from_text(text).fill_null(float("nan")))
