"""What the strings of a CSV, or of a hive folder, stand for.

A string is read as a number only where nothing is lost by it: ``007`` is a name, and so is a digit
string that no integer holds.
"""

from __future__ import annotations

import polars as pl

_INTEGER = r"^(0|-?[1-9]\d*)$"
_PADDED = r"^[+-]?0\d"
_TRUE, _FALSE = "true", "false"


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
    known = texts.drop_nulls()
    if known.is_empty():
        return texts
    # pandas writes the integers of a column that has gaps as 7.0
    digits = texts.str.strip_suffix(".0") if known.str.ends_with(".0").all() else texts
    plain = digits.set(~digits.str.contains(_INTEGER).fill_null(False), None)
    for kind in (pl.Int64, pl.UInt64):
        integers = plain.cast(kind, strict=False)
        if integers.null_count() - texts.null_count() <= stray * len(known):
            return integers
    return texts


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
    known = texts.drop_nulls()
    if known.is_empty() or known.str.contains(_PADDED).any():
        return texts
    words = texts.str.strip_chars().str.to_lowercase()
    booleans = words.replace_strict({_TRUE: True, _FALSE: False}, default=None, return_dtype=pl.Boolean)
    integers, numbers = words.cast(pl.Int64, strict=False), words.cast(pl.Float64, strict=False)
    exact = integers if integers.null_count() == numbers.null_count() else numbers
    for read in (booleans, exact):
        if read.is_not_null().sum() >= share * len(known):
            return read.alias(texts.name)
    return texts


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
