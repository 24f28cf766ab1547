"""What the strings of a CSV, or of a hive folder, stand for.

A string is read as a number only where nothing is lost by it: ``007`` is a name, and so is a digit
string that no integer holds.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

_INTEGER = r"^(0|-?[1-9]\d*)$"
_PADDED = r"^[+-]?0\d"
_TRUE, _FALSE = "true", "false"
_DECIMAL = ".0"
_KINDS: dict[str, pl.DataType] = {"signed": pl.Int64(), "unsigned": pl.UInt64()}


def ids_from_text(texts: pl.Series, stray: float) -> pl.Series:
    """Read ids as integers when they are integers, and keep them as they are otherwise.

    Parameters
    ----------
    texts : polars.Series
        Strings.
    stray : float
        Share of values that may fail to be integers; these become null.

    Returns
    -------
    polars.Series
        Int64, UInt64 or String.

    Examples
    --------
    >>> ids_from_text(pl.Series(["7", "12"]), 0.0).to_list()
    [7, 12]
    >>> ids_from_text(pl.Series(["007", "12"]), 0.0).to_list()
    ['007', '12']

    """
    frame = texts.to_frame()
    counted = frame.select(**id_figures(texts.name)).row(0, named=True)
    return frame.select(read_ids(texts.name, counted, stray)).to_series()


def id_figures(name: str) -> dict[str, pl.Expr]:
    """Count how many of a column's strings are no integers, as they are and without a ``.0`` at their end.

    Parameters
    ----------
    name : str

    Returns
    -------
    dict of str to polars.Expr

    """
    known = pl.col(name).is_not_null()
    unread = {
        f"{name}:{kind}:{cut}": (known & _integers(name, kind, cut).is_null()).sum()
        for kind in _KINDS
        for cut in (False, True)
    }
    return {
        f"{name}:known": known.sum(),
        f"{name}:decimal": pl.col(name).str.ends_with(_DECIMAL).sum(),
        **unread,
    }


def read_ids(name: str, counted: Mapping[str, int], stray: float) -> pl.Expr:
    """Read a column of ids by what `id_figures` counted in all of it; see `ids_from_text`."""
    known = counted[f"{name}:known"]
    # pandas writes the integers of a column that has gaps as 7.0
    cut = counted[f"{name}:decimal"] == known
    fits = (kind for kind in _KINDS if counted[f"{name}:{kind}:{cut}"] <= stray * known)
    kind = next(fits, None) if known else None
    return pl.col(name) if kind is None else _integers(name, kind, cut).alias(name)


def _integers(name: str, kind: str, cut: bool) -> pl.Expr:
    digits = pl.col(name).str.strip_suffix(_DECIMAL) if cut else pl.col(name)
    return pl.when(digits.str.contains(_INTEGER)).then(digits).cast(_KINDS[kind], strict=False)


def as_it_looks(texts: pl.Series, share: float) -> pl.Series:
    """Read strings as booleans or numbers when they look like them.

    Parameters
    ----------
    texts : polars.Series
        Strings.
    share : float
        Share of the values that must be readable as such; the others become null.

    Returns
    -------
    polars.Series
        Boolean, Int64 or Float64, or the strings themselves.

    Examples
    --------
    >>> as_it_looks(pl.Series(["4.5", "3", None]), 1.0).to_list()
    [4.5, 3.0, None]

    """
    frame = texts.to_frame()
    counted = frame.select(**look_figures(texts.name)).row(0, named=True)
    return frame.select(read_look(texts.name, counted, share)).to_series()


def look_figures(name: str) -> dict[str, pl.Expr]:
    """Count how many of a column's strings look like what.

    Parameters
    ----------
    name : str

    Returns
    -------
    dict of str to polars.Expr

    """
    looks = {f"{name}:{kind}": look.count() for kind, look in _looks(name).items()}
    padded = pl.col(name).str.contains(_PADDED).sum()
    return {f"{name}:known": pl.col(name).count(), f"{name}:padded": padded, **looks}


def read_look(name: str, counted: Mapping[str, int], share: float) -> pl.Expr:
    """Read a column by what `look_figures` counted in all of it; see `as_it_looks`."""
    known, integers, numbers = (counted[f"{name}:{figure}"] for figure in ("known", "integer", "number"))
    if not known or counted[f"{name}:padded"]:
        return pl.col(name)
    for kind in ("boolean", "integer" if integers == numbers else "number"):
        if counted[f"{name}:{kind}"] >= share * known:
            return _looks(name)[kind].alias(name)
    return pl.col(name)


def _looks(name: str) -> dict[str, pl.Expr]:
    words = pl.col(name).str.strip_chars().str.to_lowercase()
    booleans = words.replace_strict({_TRUE: True, _FALSE: False}, default=None, return_dtype=pl.Boolean)
    integers, numbers = (words.cast(kind, strict=False) for kind in (pl.Int64, pl.Float64))
    return {"boolean": booleans, "integer": integers, "number": numbers}


def number_from_text(text: pl.Expr) -> pl.Expr:
    """Read numbers, ``true`` and ``false``; what is neither becomes null.

    Parameters
    ----------
    text : polars.Expr
        Strings.

    Returns
    -------
    polars.Expr
        Float64.

    """
    word = text.str.strip_chars().str.to_lowercase()
    boolean = pl.when(word == _TRUE).then(1.0).when(word == _FALSE).then(0.0)
    return boolean.otherwise(word.cast(pl.Float64, strict=False))
