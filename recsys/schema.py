"""The column contract of every table that crosses a boundary.

Tables are Polars inside; a public function that takes a pandas frame answers in pandas (`to_polars`,
`in_kind`). Contracts are dataframely schemas: a rule is a named expression, and because a rule whose
result is null passes, each one says what null means.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import dataframely as dy
import polars as pl

from recsys.errors import DataError, InputError, UsageError, nearest

if TYPE_CHECKING:
    import pandas as pd

    Frame: TypeAlias = pl.DataFrame | pd.DataFrame
else:
    Frame: TypeAlias = Any

USER, ITEM, TIME, LIKED = "user_id", "item_id", "timestamp", "liked"
DWELL, CREATOR, CATEGORY = "dwell_seconds", "creator_id", "category"
CREATED, HISTORY_ONLY, FACTORS_ONLY = "item_created_at", "history_only", "factors_only"
IS_RANDOM, SESSION = "is_random", "session_id"
ROLES = (
    *(USER, ITEM, TIME, LIKED, DWELL, CREATOR, CATEGORY, CREATED, HISTORY_ONLY, FACTORS_ONLY),
    *(IS_RANDOM, SESSION),
)
#: What a model is fitted on, beside the signals.
FITTED_ON = (USER, ITEM, TIME, LIKED, CREATOR, CATEGORY, CREATED)
ROW, REASONS = "row", "reasons"
#: A column so named cuts the users or rows into groups, for the evaluation.
GROUP = "group_"
#: The signal that every exposure gives; no declared one may take its name.
EXPOSED = "exposed"

INSTANT = pl.Datetime("us", "UTC")
EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def arrived(name: str) -> str:
    """Name the column that holds when a like or signal arrived, if that is later than the exposure."""
    return f"{name}_at"


def candidate_schema(signals: Sequence[str], has_like: bool) -> type[dy.Schema]:
    """Rules that a parsed row must meet to be accepted as an exposure.

    Parameters
    ----------
    signals : sequence of str
        Numeric columns. Null means unknown and passes; NaN stands for "not a number" and fails.
    has_like : bool
        Whether the log has a like column.

    Returns
    -------
    type of dataframely.Schema
        Rule names are the reasons written beside refused rows.

    """
    rules: dict[str, Any] = {
        "user_id_missing_or_unparseable": _rule(pl.col(USER).is_not_null()),
        "item_id_missing_or_unparseable": _rule(pl.col(ITEM).is_not_null()),
        "timestamp_missing_or_unparseable": _rule(pl.col(TIME).is_not_null()),
        "timestamp_implausible": _rule(pl.col(TIME).is_null() | pl.col(TIME).is_between(EARLIEST, LATEST)),
    }
    columns = {name: dy.Any() for name in (ROW, USER, ITEM, TIME)}
    if has_like:
        columns[LIKED] = dy.Any()
        rules["liked_missing"] = _rule(pl.col(LIKED).is_not_null())
        rules["liked_not_0_or_1"] = _rule(pl.col(LIKED).is_null() | pl.col(LIKED).is_in([0.0, 1.0]))
    for name in signals:
        value = pl.col(name)
        columns[name] = dy.Any()
        fits = value.is_null() | (value.is_finite() & (value >= 0))
        rules[f"{name}_negative_or_not_a_number"] = _rule(fits)
    return type("Candidates", (dy.Schema,), {**columns, **rules})


def _rule(expression: pl.Expr) -> Any:
    return dy.rule()(lambda _: expression)


class Predictions(dy.Schema):
    """OUT/predictions: one row a (user, item), sorted by user and rank."""

    user_id = dy.Any()
    item_id = dy.Any()
    rank = dy.Int32(min=1)
    will_like = dy.Float32(nullable=True, min_exclusive=0.0, max_exclusive=1.0)
    will_like_low = dy.Float32(nullable=True)
    will_like_high = dy.Float32(nullable=True)
    score = dy.Float32(nullable=True)
    as_of = dy.Date()
    model_version = dy.String()

    @dy.rule()
    def interval_contains_will_like(cls) -> pl.Expr:  # noqa: N805
        """Null bounds mean that no interval was estimated."""
        low, middle, high = pl.col("will_like_low"), pl.col("will_like"), pl.col("will_like_high")
        return (low.is_null() & high.is_null()) | ((low <= middle) & (middle <= high)).fill_null(False)

    @dy.rule()
    def ids_known(cls) -> pl.Expr:  # noqa: N805
        """Name every user and item: `dy.Any` lets null pass."""
        return pl.col(USER).is_not_null() & pl.col(ITEM).is_not_null()

    @dy.rule()
    def pair_once(cls) -> pl.Expr:  # noqa: N805
        """Hold each (user, item) once."""
        return pl.struct(USER, ITEM).is_unique()

    @dy.rule()
    def sorted_by_user_and_rank(cls) -> pl.Expr:  # noqa: N805
        """Let users ascend, and the ranks of each."""
        before = pl.struct(USER, "rank").shift(1)
        higher_user = pl.col(USER) > before.struct.field(USER)
        next_rank = (pl.col(USER) == before.struct.field(USER)) & (
            pl.col("rank") == before.struct.field("rank") + 1
        )
        return (higher_user | next_rank).fill_null(True)

    @dy.rule()
    def rank_follows_will_like(cls) -> pl.Expr:  # noqa: N805
        """Let no item stand before a likelier one; null where there are no probabilities."""
        return (pl.col("will_like") <= pl.col("will_like").shift(1).over(USER)).fill_null(True)

    @dy.rule()
    def ranks_without_holes(cls) -> pl.Expr:  # noqa: N805
        """Let a user's ranks run 1, 2, ..., n."""
        once = pl.struct(USER, "rank").is_unique()
        return once & (pl.col("rank").max().over(USER) == pl.len().over(USER))


class Losses(dy.Schema):
    """OUT/evaluation/losses.parquet: one row a test exposure; more columns, one a baseline, may follow."""

    user_id = dy.Any()
    item_id = dy.Any()
    timestamp = dy.Datetime(time_unit="us", time_zone="UTC")
    liked = dy.Bool()
    will_like = dy.Float64(min_exclusive=0.0, max_exclusive=1.0)
    log_loss = dy.Float64(min=0.0)


def validated(frame: pl.DataFrame, schema: type[dy.Schema]) -> pl.DataFrame:
    """Hold a table of ours against its contract before it leaves.

    Parameters
    ----------
    frame : polars.DataFrame
    schema : type of dataframely.Schema
        Columns beyond the schema's are kept.

    Returns
    -------
    polars.DataFrame
        The same frame.

    Raises
    ------
    dataframely.exc.ValidationError
        A defect in recsys, not in the data.

    """
    schema.validate(frame.select(schema.column_names()))
    return frame


def as_predictions(ranked: pl.DataFrame, day: date, version: str) -> pl.DataFrame:
    """Stamp a ranking with its day and its model, and hold it against the contract.

    Parameters
    ----------
    ranked : polars.DataFrame
        As `WillLikeModel.recommend` gives it.
    day : datetime.date
    version : str

    Returns
    -------
    polars.DataFrame
        As `Predictions` says.

    """
    stamps = {"as_of": pl.lit(day), "model_version": pl.lit(version)}
    return validated(ranked.with_columns(**stamps).select(Predictions.column_names()), Predictions)


def to_polars(frame: Frame) -> pl.DataFrame:
    """Take a Polars or pandas frame in, as Polars.

    Parameters
    ----------
    frame : polars.DataFrame or pandas.DataFrame

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    UsageError
        When it is neither.

    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if type(frame).__module__.startswith("pandas"):
        return pl.from_pandas(frame)
    raise UsageError(f"a Polars or pandas frame is needed, got {type(frame).__name__}")


def in_kind(result: pl.DataFrame, *asked_with: object) -> Any:
    """Answer in pandas when asked in pandas.

    Parameters
    ----------
    result : polars.DataFrame
    *asked_with : object
        The arguments whose kind decides.

    Returns
    -------
    polars.DataFrame or pandas.DataFrame

    """
    pandas = any(type(one).__module__.startswith("pandas") for one in asked_with)
    return result.to_pandas() if pandas else result


def require_columns(frame: pl.DataFrame, names: Sequence[str], what: str) -> None:
    """Refuse a table that lacks a column.

    Parameters
    ----------
    frame : polars.DataFrame
    names : sequence of str
    what : str
        The table's name in the message.

    Raises
    ------
    InputError
        Naming the nearest column there is.

    """
    for name in names:
        if name not in frame.columns:
            raise InputError(f"{what} has no column {name!r}: {nearest(name, frame.columns)}")


def same_id_kind(given: pl.DataType, known: pl.DataType, what: str) -> None:
    """Refuse to compare integer ids with string ids.

    Parameters
    ----------
    given, known : polars.DataType
        Type of the ids asked with, and of those in the log.
    what : str
        The column's name in the message.

    Raises
    ------
    DataError
        When one is an integer and the other a string.

    """
    if given.is_integer() != known.is_integer() and given != pl.Null:
        raise DataError(f"{what} is {given} here and {known} in the log: give ids as the log has them")
