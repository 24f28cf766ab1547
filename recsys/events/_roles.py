"""Which column or SQL expression plays which role."""

from __future__ import annotations

import re
from dataclasses import dataclass

import polars as pl

from recsys.config import EventsSettings
from recsys.errors import ConfigError, nearest
from recsys.events._sources import Source
from recsys.schema import CATEGORY, CREATOR, DWELL, HISTORY_ONLY, ITEM, LIKED, ROLES, TIME, USER

EVENT_TYPE = "event_type"
_OPTIONAL = {
    LIKED: "like",
    DWELL: "dwell",
    CREATOR: "creator",
    CATEGORY: "category",
    HISTORY_ONLY: "history_only",
}
_PLAIN_NAME = re.compile(r"\w+")
_NAMED = re.compile(r'\bas\s+"?(\w+)"?\s*$', re.IGNORECASE)


@dataclass(frozen=True)
class Roles:
    """A log with one column a role, values as stored.

    Attributes
    ----------
    rows : polars.LazyFrame
        Canonical column names; signals and outcomes under the names they were declared with.
    looks : dict of str to polars.DataType
        The type of each column; where a CSV holds strings, what they look like.
    signals, outcomes : tuple of str
        Names of the numbers among them. Dwell is a signal.

    """

    rows: pl.LazyFrame
    looks: dict[str, pl.DataType]
    signals: tuple[str, ...]
    outcomes: tuple[str, ...]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Signals and outcomes, each once."""
        return tuple(dict.fromkeys(self.signals + self.outcomes))


def resolve_roles(source: Source, settings: EventsSettings) -> Roles:
    """Find the column or expression of each role.

    Parameters
    ----------
    source : Source
    settings : EventsSettings

    Returns
    -------
    Roles

    Raises
    ------
    ConfigError
        When a declared column is not there (the nearest is named), or an expression is not SQL.

    """
    wanted = _role_texts(source, settings)
    from_events = set(settings.event_types) if settings.layout == "event_log" else set()
    signals = _declare_numbers(wanted, settings.signals, from_events)
    outcomes = _declare_numbers(wanted, settings.outcomes, from_events)
    if DWELL in wanted:
        signals = tuple(dict.fromkeys((*signals, DWELL)))
    plain = {role: text for role, text in wanted.items() if text in source.types}
    computed = {role: _expression(text, role, source) for role, text in wanted.items() if role not in plain}
    rows = _select_roles(source, plain, computed)
    looks = dict(rows.collect_schema())
    if source.is_text:
        looks |= {role: source.types[text] for role, text in plain.items()}
    return Roles(rows, looks, signals, outcomes)


def _role_texts(source: Source, settings: EventsSettings) -> dict[str, str]:
    columns = settings.columns
    wanted = {USER: columns.user, ITEM: columns.item, TIME: columns.time}
    for role, key in _OPTIONAL.items():
        declared = getattr(columns, key)
        if declared is not None or role in source.types:
            wanted[role] = declared or role
    if settings.layout == "event_log":
        wanted[EVENT_TYPE] = columns.event_type
        wanted.pop(LIKED, None)
    return wanted


def _declare_numbers(
    wanted: dict[str, str], texts: tuple[str, ...], from_events: set[str]
) -> tuple[str, ...]:
    names = []
    for text in texts:
        named = _NAMED.search(text)
        if named is None and not _PLAIN_NAME.fullmatch(text):
            raise ConfigError(f"the signal {text!r} needs a name: write {text + ' AS some_name'!r}")
        name = named.group(1) if named else text
        if name in set(ROLES) - {DWELL}:
            raise ConfigError(f"{name!r} is a role and cannot name a signal: name it otherwise with AS")
        if name not in from_events:
            wanted.setdefault(name, text)
        names.append(name)
    return tuple(dict.fromkeys(names))


def _expression(text: str, role: str, source: Source) -> pl.Expr:
    if _PLAIN_NAME.fullmatch(text):
        raise ConfigError(f"the log has no column {text!r} for {role!r}: {nearest(text, source.types)}")
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"{text!r} for {role!r} is neither a column nor SQL: {error}") from None
    for name in expression.meta.root_names():
        if name not in source.types:
            raise ConfigError(f"{text!r} for {role!r} reads {name!r}: {nearest(name, source.types)}")
    return expression


def _select_roles(source: Source, plain: dict[str, str], computed: dict[str, pl.Expr]) -> pl.LazyFrame:
    # The columns of a CSV are strings, so that what cannot be read is told from what is missing;
    # inside an expression they mean what they look like.
    kept = [pl.col(text).alias(f"plain:{role}") for role, text in plain.items()]
    roots = {name for expression in computed.values() for name in expression.meta.root_names()}
    typed = [pl.col(name).cast(source.types[name], strict=False) for name in roots] if source.is_text else []
    return (
        source.rows.with_columns(kept)
        .with_columns(typed)
        .select(
            *(pl.col(f"plain:{role}").alias(role) for role in plain),
            *(expression.alias(role) for role, expression in computed.items()),
        )
    )
