"""Rows that break a rule: which, why, and when they are too many."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime

import dataframely as dy
import polars as pl

from recsys.errors import DataError, RefusedRowsError
from recsys.events._roles import EVENT_TYPE, Roles
from recsys.events._sources import Source
from recsys.schema import LIKED, REASONS, ROW, candidate_schema

_WRITABLE = (datetime(1700, 1, 1), datetime(2200, 1, 1))
_NOT_TEXT = (pl.Object, pl.Binary, pl.Duration)


def apply_rules(parsed: pl.DataFrame, roles: Roles) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hold parsed rows against the rules.

    Parameters
    ----------
    parsed : polars.DataFrame
    roles : Roles

    Returns
    -------
    accepted, broken : polars.DataFrame
        Rows that meet all rules; `row` and `reasons` of the others.

    """
    numbers = [name for name in roles.numbers if name in parsed.columns]
    schema = candidate_schema(numbers, LIKED in parsed.columns)
    if EVENT_TYPE in parsed.columns:
        present = dy.rule()(lambda _: pl.col(EVENT_TYPE).is_not_null())
        schema = type("Events", (schema,), {EVENT_TYPE: dy.Any(), "event_type_missing": present})
    _, failure = schema.filter(parsed.select(schema.column_names()))
    rules = list(failure.counts())
    if not rules:
        return parsed, pl.DataFrame(schema={ROW: parsed.schema[ROW], REASONS: pl.String})
    reasons = [pl.when(pl.col(rule) == "invalid").then(pl.lit(rule)) for rule in rules]
    broken = failure.details().select(
        ROW, pl.concat_str(reasons, separator=", ", ignore_nulls=True).alias(REASONS)
    )
    return parsed.join(broken, on=ROW, how="anti", maintain_order="left"), broken


def count_reasons(refused: pl.DataFrame) -> dict[str, int]:
    """Count refused rows by broken rule; a row may break several.

    Parameters
    ----------
    refused : polars.DataFrame

    Returns
    -------
    dict of str to int

    """
    reasons = refused[REASONS].str.split(", ").explode().drop_nulls().value_counts().sort(REASONS)
    return dict(zip(reasons[REASONS], reasons["count"], strict=True))


def describe_refused(source: Source, broken: pl.DataFrame) -> pl.DataFrame:
    """Read the refused rows again, as they were written.

    Parameters
    ----------
    source : Source
    broken : polars.DataFrame
        `row` and `reasons`.

    Returns
    -------
    polars.DataFrame
        These, and the columns of the input as text.

    """
    row, reasons = source.private(ROW), source.private(REASONS)
    wanted = broken.lazy().rename({ROW: row, REASONS: reasons})
    rows = source.numbered() if len(broken) else source.numbered().head(0)
    texts = [
        _as_written(name, kind).alias(_apart(name, source.types) if name in (ROW, REASONS) else name)
        for name, kind in source.types.items()
        if not kind.is_nested() and kind not in _NOT_TEXT
    ]
    again = rows.join(wanted, on=row, how="inner", maintain_order="left")
    return again.select(pl.col(row).alias(ROW), pl.col(reasons).alias(REASONS), *texts).collect()


def _apart(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _as_written(name: str, kind: pl.DataType) -> pl.Expr:
    raw = pl.col(name)
    if kind != pl.Date and kind != pl.Datetime:
        return raw.cast(pl.String)
    # Polars panics when it writes a year of more than a few digits.
    low, high = (pl.lit(bound).cast(kind) for bound in _WRITABLE)
    writable = pl.when(raw.is_between(low, high)).then(raw.clip(low, high).cast(pl.String))
    return writable.otherwise(raw.to_physical().cast(pl.String))


def check_share(
    read: int, refused: pl.DataFrame, max_refused: float, name: str, as_of: datetime | None
) -> None:
    """Refuse an empty log, and one of which too much was refused.

    Parameters
    ----------
    read : int
        Rows.
    refused : polars.DataFrame
    max_refused : float
        Largest share of refused rows.
    name : str
        The log's, in messages.
    as_of : datetime.datetime, optional

    Raises
    ------
    DataError
        No row at all.
    RefusedRowsError
        More than `max_refused`, or all of them.

    """
    what = repr(name) + ("" if as_of is None else f" before as_of = {as_of.isoformat()}")
    if read == 0:
        raise DataError(f"there are no rows in {what}: check the log, its time column and as_of")
    if len(refused) <= max_refused * read and len(refused) < read:
        return
    reason, count = max(count_reasons(refused).items(), key=lambda item: item[1])
    share = f"above events.max_refused = {max_refused:g}" if len(refused) < read else "nothing is left"
    raise RefusedRowsError(
        f"{len(refused):,} of {read:,} rows of {what} are refused, {share}; most often {reason} "
        f"({count:,}): see `recsys check --output DIR`",
        refused,
    )
