"""Which column or SQL expression plays which role."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import dataframely as dy
import polars as pl

from recsys.config import EventsSettings
from recsys.errors import ConfigError, nearest
from recsys.events._sources import Source, first_line, reading
from recsys.events._text import look_figures, read_look
from recsys.events._times import read_creation, rows_before
from recsys.events._totals import Totals, count_here
from recsys.schema import (
    CATEGORY,
    CREATED,
    CREATOR,
    DWELL,
    EXPOSED,
    GROUP,
    HISTORY_ONLY,
    IS_RANDOM,
    ITEM,
    LIKED,
    REASONS,
    ROLES,
    ROW,
    SESSION,
    TIME,
    USER,
    arrived,
)

EVENT_TYPE = "event_type"
VIEW, LIKE = "view", "like"
_OPTIONAL = {
    LIKED: "like",
    DWELL: "dwell",
    CREATOR: "creator",
    CATEGORY: "category",
    CREATED: "item_created_at",
    HISTORY_ONLY: "history_only",
    IS_RANDOM: "is_random",
    SESSION: "session",
}
# What stands beside ``<name>_at`` would be taken for something that arrived then.
_TAKEN = {*ROLES, CREATED.removesuffix(arrived("")), EXPOSED, ROW, REASONS, EVENT_TYPE, VIEW, LIKE} - {DWELL}
_PLAIN_NAME = re.compile(r"\w+")
_NAMED = re.compile(r'\bas\s+"?(\w+)"?\s*$', re.IGNORECASE)
_WINDOW = re.compile(r"\bover\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """The rows before as_of with one column a role.

    Attributes
    ----------
    rows : polars.LazyFrame
        `row`, the position in the input; `timestamp` and `item_created_at`, instants; the other roles under
        their canonical names, signals and outcomes under the names they were declared with, as stored.
    texts : frozenset of str
        Roles whose strings stand for something else (see `Source`).
    signals, outcomes : tuple of str
        Names of the numbers among them. Dwell is a signal.
    groups : tuple of str
        Names of the texts that cut rows into groups.
    totals : Totals
        Who counts figures of the whole log.

    """

    rows: pl.LazyFrame
    texts: frozenset[str]
    signals: tuple[str, ...]
    outcomes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    totals: Totals = count_here

    @property
    def numbers(self) -> tuple[str, ...]:
        """Signals and outcomes, each once."""
        return tuple(dict.fromkeys(self.signals + self.outcomes))


def resolve_roles(source: Source, settings: EventsSettings, as_of: datetime | None = None) -> Roles:
    """Find the column or expression of each role.

    Parameters
    ----------
    source : Source
    settings : EventsSettings
    as_of : datetime.datetime, optional
        Rows at or after it are left out before anything else is looked at.

    Returns
    -------
    Roles

    Raises
    ------
    ConfigError
        When a declared column is not there (the nearest is named), or an expression is not SQL.
    InputError
        When the source cannot be read after all.

    """
    roles, expressions = _define_roles(source, settings)
    with reading(source.name):
        rows = _select_before(source, expressions, settings, as_of)
    return replace(roles, rows=rows)


def columns_read(source: Source, settings: EventsSettings) -> frozenset[str]:
    """Name the columns of a log that any role reads.

    Parameters
    ----------
    source : Source
    settings : EventsSettings

    Returns
    -------
    frozenset of str

    Raises
    ------
    ConfigError
        As `resolve_roles`.

    """
    return frozenset(_roots(_define_roles(source, settings)[1].values()))


def _define_roles(source: Source, settings: EventsSettings) -> tuple[Roles, dict[str, pl.Expr]]:
    wanted = _role_texts(source, settings)
    from_events = set(settings.event_types) if settings.folds else set()
    signals = _declare_numbers(settings.signals, from_events | set(source.types))
    outcomes = _declare_numbers(settings.outcomes, from_events | set(source.types))
    numbers = _define_once(signals, outcomes)
    wanted |= {name: text for name, text in numbers.items() if name not in from_events}
    if DWELL in wanted:
        signals[DWELL] = wanted[DWELL]
    groups = _group_texts(source, settings, wanted)
    wanted |= groups
    expressions = {role: _expression(text, role, source, from_events) for role, text in wanted.items()}
    texts = frozenset(role for role, text in wanted.items() if text in source.texts)
    return Roles(
        source.rows, texts, tuple(signals), tuple(outcomes), tuple(groups), source.totals
    ), expressions


def _role_texts(source: Source, settings: EventsSettings) -> dict[str, str]:
    columns = settings.columns
    wanted = {USER: columns.user, ITEM: columns.item, TIME: columns.time}
    for role, key in _OPTIONAL.items():
        declared = getattr(columns, key)
        if declared is not None or role in source.types:
            wanted[role] = declared or role
    if settings.folds:
        wanted[EVENT_TYPE] = columns.event_type
        wanted.pop(LIKED, None)
        if columns.like is not None:
            raise ConfigError(
                f"columns.like = {columns.like!r} is for exposures: in an event_log name the likes "
                'as in event_types = { view = ["VIEW"], like = ["LIKE"] }'
            )
    return wanted


def _group_texts(source: Source, settings: EventsSettings, wanted: dict[str, str]) -> dict[str, str]:
    """Name the groups: those declared, and the columns that say so and play no other role."""
    declared = {f"{GROUP}{name}": text for name, text in settings.columns.groups.items()}
    for name in declared:
        if name in wanted:
            raise ConfigError(f"{name!r} is a signal or an outcome: give the group another name")
    taken = {*declared, *wanted, *wanted.values()}
    found = [
        name
        for name, kind in source.types.items()
        if name.startswith(GROUP) and name not in taken and not kind.is_nested() and kind != pl.Binary
    ]
    return declared | {name: name for name in found}


def is_taken(name: str) -> bool:
    """Tell a name that recsys, or the schema its rules are written in, uses itself.

    Parameters
    ----------
    name : str

    Returns
    -------
    bool

    """
    return name in _TAKEN or hasattr(dy.Schema, name)


def _declare_numbers(texts: Iterable[str], known: set[str]) -> dict[str, str]:
    """Name each signal or outcome: after its column, its events, or its AS."""
    names = {}
    for text in texts:
        plain = text in known or _PLAIN_NAME.fullmatch(text)
        named = None if plain else _NAMED.search(text)
        if not plain and named is None:
            raise ConfigError(f"the signal {text!r} needs a name: write {text + ' AS some_name'!r}")
        name = named.group(1) if named else text
        stem = name.removesuffix(arrived(""))
        if is_taken(name) or (stem != name and stem in {*texts, LIKED}):
            raise ConfigError(
                f"{name!r} is a name that recsys uses itself: name the signal otherwise, "
                f"as in {text + ' AS some_name'!r}"
            )
        names[name] = text
    return names


def _define_once(signals: dict[str, str], outcomes: dict[str, str]) -> dict[str, str]:
    """Let an outcome be a signal by its name alone."""
    numbers = dict(signals)
    for name, text in outcomes.items():
        known = numbers.setdefault(name, text)
        if text not in (known, name):
            raise ConfigError(
                f"{name!r} is both {known!r} and {text!r}: give one of them another name with AS"
            )
    return numbers


def _expression(text: str, role: str, source: Source, from_events: set[str]) -> pl.Expr:
    if text in source.types:
        return pl.col(text)
    choices = {*source.types, *from_events}
    if _PLAIN_NAME.fullmatch(text):
        raise ConfigError(f"the log has no column {text!r} for {role!r}: {nearest(text, choices)}")
    if _WINDOW.search(text):
        raise ConfigError(
            f"{text!r} for {role!r} looks at other rows, which may lie after a cut: write an expression "
            "over one row, without OVER"
        )
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"{text!r} for {role!r} is neither a column ({nearest(text, choices)}) nor SQL: {first_line(error)}"
        ) from None
    for name in expression.meta.root_names():
        if name not in source.types:
            raise ConfigError(
                f"{text!r} for {role!r} reads {name!r}, which is not a column: {nearest(name, source.types)}"
            )
    return expression


def _select_before(
    source: Source, expressions: dict[str, pl.Expr], settings: EventsSettings, as_of: datetime | None
) -> pl.LazyFrame:
    """Compute the time, leave out what is too late, then compute the rest."""
    row, time = source.private(ROW), source.private(TIME)
    roots = _roots(expressions.values())
    rows = source.numbered(roots)
    if roots & source.texts:
        rows = rows.collect().lazy()
    rows = _add_columns(rows, {TIME: expressions[TIME]}, source)
    rows = rows_before(rows, time, settings.time_unit, as_of, source.totals)
    others = {role: expression for role, expression in expressions.items() if role != TIME}
    rows = _add_columns(rows, others, source)
    if CREATED in expressions:
        rows = read_creation(rows, source.private(CREATED), as_of, source.totals)
    kept = [pl.col(source.private(role)).alias(role) for role in expressions]
    return rows.select(pl.col(row).alias(ROW), *kept)


def _add_columns(rows: pl.LazyFrame, expressions: dict[str, pl.Expr], source: Source) -> pl.LazyFrame:
    """Add the roles under private names; inside an expression the strings of a CSV mean what they look like."""
    columns = {role: expression for role, expression in expressions.items() if _is_column(expression)}
    computed = {role: expression for role, expression in expressions.items() if role not in columns}
    texts = sorted(_roots(computed.values()) & source.texts)
    typed = rows
    if texts:
        rows = rows.collect().lazy()
        figures = {figure: count for name in texts for figure, count in look_figures(name).items()}
        counted = source.totals(f"how the texts of {', '.join(computed)} look", rows, figures)
        typed = rows.with_columns(read_look(name, counted, share=0.5) for name in texts)
    for role, expression in computed.items():
        _check_gives_rows(expression, role, typed.collect_schema())
    named = [expression.alias(source.private(role)) for role, expression in columns.items()]
    others = [expression.alias(source.private(role)) for role, expression in computed.items()]
    if not texts:
        return rows.with_columns(*named, *others)
    return pl.concat(
        [rows.with_columns(named).collect(), typed.select(others).collect()], how="horizontal"
    ).lazy()


def _roots(expressions: Iterable[pl.Expr]) -> set[str]:
    return {name for expression in expressions for name in expression.meta.root_names()}


def _is_column(expression: pl.Expr) -> bool:
    roots = expression.meta.root_names()
    return len(roots) == 1 and expression.meta.eq(pl.col(roots[0]))


def _check_gives_rows(expression: pl.Expr, role: str, schema: pl.Schema) -> None:
    try:
        height = pl.DataFrame(schema=schema).select(expression).height
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"the expression for {role!r} cannot be computed: {first_line(error)}") from None
    if height:
        raise ConfigError(
            f"the expression for {role!r} gives one value for the whole log: write one over a row's columns"
        )
