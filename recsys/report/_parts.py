"""What a page is made of: tables, and figures with the tables behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from recsys.report._format import Write


@dataclass(frozen=True)
class Table:
    """Text in rows; the first cell of a row names it.

    Attributes
    ----------
    caption : str
    headings : tuple of str
    rows : tuple of tuple of str

    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing, what it shows in words, and its numbers.

    Attributes
    ----------
    name : str
        Unique in a page: its id.
    title : str
    alt : str
        What a reader who does not see it should know.
    note : str
        How to read it.
    svg : markupsafe.Markup
    tables : tuple of Table

    """

    name: str
    title: str
    alt: str
    note: str
    svg: Markup
    tables: tuple[Table, ...]


def tabulate(frame: pl.DataFrame, caption: str, columns: Mapping[str, tuple[str, Write]]) -> Table:
    """Write a frame as a table.

    Parameters
    ----------
    frame : polars.DataFrame
    caption : str
    columns : mapping of column to (heading, how to write a value)

    Returns
    -------
    Table
        One row a row of the frame.

    """
    writers = [write for _, write in columns.values()]
    rows = frame.select(list(columns)).rows()
    return Table(
        caption,
        tuple(heading for heading, _ in columns.values()),
        tuple(tuple(write(value) for write, value in zip(writers, row, strict=True)) for row in rows),
    )


def list_pairs(caption: str, headings: tuple[str, str], pairs: Iterable[tuple[str, Any]]) -> Table:
    """Write names and values as a table of two columns."""
    return Table(caption, headings, tuple((name, str(value)) for name, value in pairs))
