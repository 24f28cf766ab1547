"""What a log holds: figures for machines, and a page of them for a person."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from recsys.config import EventsSettings
from recsys.events._read import EventLog
from recsys.events._roles import resolve_roles
from recsys.events._sources import open_source, reading
from recsys.schema import CREATED, CREATOR, FACTORS_ONLY, HISTORY_ONLY, ITEM, LIKED, ROW, TIME, USER


class LogSize(NamedTuple):
    """How much there is to read."""

    rows: int
    users: int
    items: int


def measure(settings: EventsSettings) -> LogSize:
    """Count rows, users and items without reading the rest.

    Parameters
    ----------
    settings : EventsSettings
        With a path.

    Returns
    -------
    LogSize
        Of all rows, refused and repeated ones among them.

    Raises
    ------
    RecsysError
        See `read`.

    """
    source = open_source(settings.path)
    rows = resolve_roles(source, settings).rows
    counts = rows.select(pl.col(ROW).len(), users=pl.col(USER).n_unique(), items=pl.col(ITEM).n_unique())
    with reading(source.name):
        return LogSize(*counts.collect().row(0))


def profile(log: EventLog) -> dict[str, Any]:
    """Sum up a log in plain figures.

    Parameters
    ----------
    log : EventLog

    Returns
    -------
    dict of str to value
        Ready for JSON. Shares lie in [0, 1]; what cannot be known is None: `like_rate` of a log without
        unliked exposures, `creators` and `item_created_at` of a log without such a column. Likes without a
        view are left out of everything but `rows`.

    Examples
    --------
    >>> from recsys.events import read_events
    >>> events = {"user_id": [1, 1, 2], "item_id": [7, 8, 7], "timestamp": ["2024-01-01"] * 3}
    >>> profile(read_events(pl.DataFrame({**events, "liked": [0, 1, 0]})))["like_rate"]
    0.3333333333333333

    """
    shown = log.exposures if log.positives_only else log.exposures.filter(~pl.col(FACTORS_ONLY))
    usable = shown.filter(~pl.col(HISTORY_ONLY))
    return {
        "as_of": log.as_of.isoformat(),
        "rows": _rows(log, len(shown) - len(usable)),
        "reasons": dict(log.counts.reasons),
        **_population(shown),
        "positives_only": log.positives_only,
        "like_rate": None if log.positives_only else _rounded(shown[LIKED].mean()),
        "like_rate_without_history": None if log.positives_only else _rounded(usable[LIKED].mean()),
        "exposures_a_user": _quartiles(shown),
        "signals": {name: _shares(shown[name]) for name in log.signals},
        "outcomes": {name: _shares(shown[name]) for name in log.outcomes},
        "item_created_at": _creations(shown),
    }


def _rows(log: EventLog, history_only: int) -> dict[str, int]:
    counts = log.counts
    names = ("read", "accepted", "refused", "duplicates", "unsettled", "folded", "likes_without_view")
    return {name: getattr(counts, name) for name in names} | {"history_only": history_only}


def _population(shown: pl.DataFrame) -> dict[str, Any]:
    times = shown[TIME]
    first, last = times.min(), times.max()
    return {
        "users": shown[USER].n_unique(),
        "items": shown[ITEM].n_unique(),
        "creators": shown[CREATOR].drop_nulls().n_unique() if CREATOR in shown.columns else None,
        "first": first.isoformat() if first else None,  # type: ignore[union-attr]
        "last": last.isoformat() if last else None,  # type: ignore[union-attr]
        "days": times.dt.date().n_unique(),
    }


def _quartiles(shown: pl.DataFrame) -> dict[str, float | None]:
    counts = shown.group_by(USER).len()["len"]
    shares = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}
    return {name: counts.quantile(share, "linear") for name, share in shares.items()}


def _shares(values: pl.Series) -> dict[str, float | None]:
    """Share of rows in which a number is known, and share of these in which it is above zero."""
    known = values.drop_nulls()
    return {
        "known": _rounded(len(known) / len(values)) if len(values) else None,
        "positive": _rounded((known > 0).mean()),
    }


def _creations(shown: pl.DataFrame) -> dict[str, float | None] | None:
    """Share of rows that tell when their item was created, and share of these that name a later time than their own."""
    if CREATED not in shown.columns:
        return None
    known = shown.drop_nulls(CREATED)
    return {
        "known": _rounded(len(known) / len(shown)) if len(shown) else None,
        "after_exposure": _rounded((known[CREATED] > known[TIME]).mean()),
    }


def _rounded(share: Any) -> float | None:
    return None if share is None else float(share)


def describe(profile: dict[str, Any]) -> str:
    """Write a profile as a page for a person.

    Parameters
    ----------
    profile : dict of str to value
        From `profile`.

    Returns
    -------
    str
        One figure a line, aligned.

    """
    lines = [*_row_lines(profile), *_population_lines(profile), *_behaviour_lines(profile)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _row_lines(profile: dict[str, Any]) -> list[tuple[str, str]]:
    rows = dict(profile["rows"])
    lines = [("rows read", f"{rows.pop('read'):,}")]
    for name, count in rows.items():
        if count or name in ("accepted", "refused", "duplicates"):
            lines.append((f"  {name.replace('_', ' ')}", f"{count:,}"))
        if name == "refused":
            lines += [(f"    {reason}", f"{times:,}") for reason, times in profile["reasons"].items()]
    return lines


def _population_lines(profile: dict[str, Any]) -> list[tuple[str, str]]:
    quartiles = profile["exposures_a_user"].values()
    spread = " / ".join("-" if value is None else f"{value:g}" for value in quartiles)
    lines = [
        (name, f"{profile[name]:,}") for name in ("users", "items", "creators") if profile[name] is not None
    ]
    lines.append(("exposures a user", f"{spread} (quartiles)"))
    lines += [(name, profile[name] or "-") for name in ("first", "last")]
    return [*lines, ("days with exposures", f"{profile['days']:,}"), ("as of", profile["as_of"])]


def _behaviour_lines(profile: dict[str, Any]) -> list[tuple[str, str]]:
    lines = [("like rate", _percent(profile["like_rate"]))]
    if profile["positives_only"]:
        lines = [("like rate", "not estimable: no exposure without a like is known (rankings only)")]
    elif profile["rows"]["history_only"]:
        lines.append(("  without history only", _percent(profile["like_rate_without_history"])))
    for kind in ("signal", "outcome"):
        for name, shares in profile[f"{kind}s"].items():
            known, positive = _percent(shares["known"]), _percent(shares["positive"])
            lines.append((f"{kind} {name}", f"known in {known}, positive in {positive} of these"))
    if creations := profile["item_created_at"]:
        known, after = _percent(creations["known"]), _percent(creations["after_exposure"])
        lines.append((CREATED, f"known in {known}, after the exposure in {after} of these"))
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
