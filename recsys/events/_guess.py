"""What the columns of an unknown log probably are, by their names and values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.errors import ConfigError
from recsys.events._roles import LIKE, VIEW, is_taken
from recsys.events._sources import Source
from recsys.events._text import as_it_looks
from recsys.events._times import TEXT
from recsys.schema import EARLIEST, LATEST

# Names without case, underscores and blanks, the surest first.
USERS = (
    "userid uid user personid visitorid viewerid customerid memberid accountid profileid reviewerid "
    "person visitor viewer customer member account"
)
ITEMS = (
    "itemid iid item videoid movieid contentid articleid productid newsid postid photoid songid trackid "
    "bookid docid documentid adid clipid asin sku isbn video movie clip article product post song track"
)
TIMES = (
    "timestamp timestampms timems timestampus ts time datetime eventtime eventtimestamp createdat "
    "unixtime unixreviewtime servertime date"
)
LIKES = "liked islike isliked like likes thumbsup islikes favorite favourite"
RATINGS = "rating ratings stars score overall"
DWELLS = (
    "dwellseconds dwelltime dwell dwellms watchtime watchseconds watchms watchratio playtime playtimems "
    "playingtime playduration playdurationms playseconds listentime msplayed timespent"
)
CREATORS = "creatorid authorid artistid publisherid sellerid channelid uploaderid creator author artist brand"
CATEGORIES = "category categoryid categories tag tags genre genres topic"
# Not created_at: of what? A log of exposures may well mean the row.
CREATIONS = (
    "itemcreatedat itemcreated videocreatedat contentcreatedat articlecreatedat postcreatedat uploaddt uploadedat "
    "uploadtime uploaddate uploadtimestamp publishedat publishtime publishdate publicationdate pubdate releasedate "
    "releasetime itemcreationtime itemcreationdate"
)
HISTORIES = "historyonly orderonly"
EVENT_TYPES = "eventtype event eventname action interaction interactiontype behavior behaviortype behaviour"
_WITHOUT_BUTTON = ("click", "view", "play", "watch", "listen", "read", "open", "enter", "complete", "finish")
_NOT_BEHAVIOUR = ("rand", "train", "test", "holdout", "isad", "valid")
_SAMPLE = 200_000


@dataclass(frozen=True)
class Columns:
    """The columns of a log nobody described yet.

    Attributes
    ----------
    types : dict of str to polars.DataType
        What each column looks like, judged by a first stretch of a CSV.
    ranges : dict of str to (float, float)
        Lowest and highest value of each number and boolean.
    flags : tuple of str
        Those that hold zeros and ones, both, and nothing else.

    """

    types: dict[str, pl.DataType]
    ranges: dict[str, tuple[float, float]]
    flags: tuple[str, ...]


def look_at(source: Source) -> Columns:
    """Look at types and ranges.

    Parameters
    ----------
    source : Source

    Returns
    -------
    Columns

    """
    rows = source.rows
    if source.texts:
        sample = rows.head(_SAMPLE).collect()
        rows = sample.with_columns(as_it_looks(sample[name], share=1.0) for name in source.texts).lazy()
    types = dict(rows.collect_schema())
    numbers = [name for name, kind in types.items() if kind.is_numeric() or kind == pl.Boolean]
    values = [pl.col(name).cast(pl.Float64) for name in numbers]
    bounds = rows.select(
        *(value.min().name.suffix(" low") for value in values),
        *(value.max().name.suffix(" high") for value in values),
        *(value.is_in([0.0, 1.0]).all().name.suffix(" flag") for value in values),
    ).collect()
    found: dict[str, Any] = bounds.row(0, named=True) if numbers else {}
    ranges = {name: (found[f"{name} low"], found[f"{name} high"]) for name in numbers}
    flags = [name for name in numbers if found[f"{name} flag"] and ranges[name] == (0.0, 1.0)]
    return Columns(types, ranges, tuple(flags))


def roles_of(columns: Columns) -> dict[str, str]:
    """Guess which column plays which role.

    Parameters
    ----------
    columns : Columns

    Returns
    -------
    dict of str to str
        Keys of `events.columns`; columns or SQL expressions.

    Raises
    ------
    ConfigError
        When user, item or time is not to be found.

    """
    types = columns.types
    ids = [name for name, kind in types.items() if kind.is_integer() or kind.is_float() or kind in TEXT]
    roles = {"user": by_name(USERS, ids), "item": by_name(ITEMS, ids)}
    roles["time"] = by_name(TIMES, [name for name, kind in types.items() if _may_be_time(kind)])
    roles["time"] = roles["time"] or _time_by_values(columns)
    missing = [role for role, name in roles.items() if name is None]
    if missing:
        raise ConfigError(
            f"no column looks like the {missing[0]}: write a recsys.toml with [events] path = 'THE LOG' and "
            f"columns = {{ {missing[0]} = 'ITS COLUMN' }}; there are {', '.join(repr(name) for name in types)}"
        )
    named = [name for name in ids if name not in roles.values() and not types[name].is_float()]
    roles |= {"creator": by_name(CREATORS, named), "category": by_name(CATEGORIES, named)}
    roles |= {"like": _like(columns), "dwell": _dwell(columns)}
    times = [name for name in types if name not in roles.values() and _looks_like_time(columns, name)]
    roles["item_created_at"] = by_name(CREATIONS, times)
    roles["history_only"] = by_name(HISTORIES, columns.flags)
    if roles["like"] is None:
        texts = [name for name in named if name not in roles.values()]
        roles["event_type"] = by_name(EVENT_TYPES, texts)
    return {role: name for role, name in roles.items() if name is not None}


def _may_be_time(kind: pl.DataType) -> bool:
    return kind.is_numeric() or kind.is_temporal() or kind in TEXT


def _looks_like_time(columns: Columns, name: str) -> bool:
    kind = columns.types[name]
    return _has_epochs(columns, name) if kind.is_numeric() else kind.is_temporal() or kind in TEXT


def _has_epochs(columns: Columns, name: str) -> bool:
    least, most = columns.ranges[name]
    low, high = EARLIEST.timestamp(), LATEST.timestamp()
    return least is not None and any(low * unit <= least and most < high * unit for unit in (1, 1e3, 1e6))


def _time_by_values(columns: Columns) -> str | None:
    """Take the only datetime, or else the only number whose range is one of plausible times."""
    dates = [name for name, kind in columns.types.items() if isinstance(kind, pl.Datetime) or kind == pl.Date]
    epochs = [name for name in columns.ranges if _has_epochs(columns, name)]
    return next((found[0] for found in (dates, epochs) if len(found) == 1), None)


def _like(columns: Columns) -> str | None:
    flag = by_name(LIKES, columns.flags)
    scales = {name: high for name, (_, high) in columns.ranges.items() if high is not None and high > 1}
    rating = by_name(RATINGS, scales)
    if flag or rating is None:
        return flag
    top = next((top for top in (5, 10, 100) if scales[rating] <= top), scales[rating])
    return f"{_sql(rating)} >= {0.8 * top:g}"


def _dwell(columns: Columns) -> str | None:
    name = by_name(DWELLS, columns.ranges)
    in_milliseconds = name is not None and re.search("^ms|ms$", _plain(name))
    return f"{_sql(name)} / 1000.0" if name and in_milliseconds else name


def _sql(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else f'"{name}"'


def by_name(wanted: str, columns: Iterable[str]) -> str | None:
    """Find the column with the surest of the wanted names, or the only one that ends like an id of them.

    Parameters
    ----------
    wanted : str
        Names, blank-separated, the surest first.
    columns : iterable of str

    Returns
    -------
    str or None

    """
    plain = {_plain(name): name for name in reversed(list(columns))}
    names = wanted.split()
    for name in names:
        if name in plain:
            return plain[name]
    ids = [name for name in names if name.endswith("id") and len(name) > 3]
    close = [name for text, name in plain.items() if text.endswith(tuple(ids))]
    return close[0] if len(close) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def signals_of(flags: Sequence[str]) -> list[str]:
    """Choose the flags that are recorded without a button.

    Parameters
    ----------
    flags : sequence of str

    Returns
    -------
    list of str

    """
    return [name for name in outcomes_of(flags) if any(word in _plain(name) for word in _WITHOUT_BUTTON)]


def outcomes_of(flags: Sequence[str]) -> list[str]:
    """Choose the flags that are something a user did.

    Parameters
    ----------
    flags : sequence of str

    Returns
    -------
    list of str

    """
    free = [name for name in flags if not is_taken(name)]
    return [name for name in free if not any(word in _plain(name) for word in _NOT_BEHAVIOUR)]


def sort_event_types(types: Sequence[str]) -> dict[str, list[str]]:
    """Guess which event types are views, which are likes, and name the others.

    Parameters
    ----------
    types : sequence of str
        The commonest first.

    Returns
    -------
    dict of str to list of str
        `view`, at least one; `like`, perhaps none; the others under names of their own.

    """
    views = [text for text in types if re.search("impress|view|show|expos", _plain(text))] or list(types[:1])
    rest = [text for text in types if text not in views]
    likes = [text for text in rest if re.search("^(?!un|dis).*(like|heart|thumb|upvote|fav)", _plain(text))]
    sorted_types = {VIEW: views, LIKE: likes}
    for text in rest:
        name = re.sub(r"\W+", "_", text.lower())
        if text not in likes:
            sorted_types.setdefault(f"event_{name}" if is_taken(name) else name, []).append(text)
    return sorted_types
