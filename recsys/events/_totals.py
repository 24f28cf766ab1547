"""Figures of a whole log that decide how its columns are read.

What a column means may depend on all its rows: the unit of its times, whether its strings are numbers. Each such
decision is made from a few figures, so that they can be counted where the rows are, however many pieces those lie in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import polars as pl

#: Names of the figures that are no sums.
LOW, HIGH = "low", "high"


class Totals(Protocol):
    """Whoever counts figures over all rows."""

    def __call__(self, name: str, rows: pl.LazyFrame, figures: Mapping[str, pl.Expr]) -> dict[str, Any]:
        """Count figures.

        Parameters
        ----------
        name : str
            Of the decision; no two have the same one.
        rows : polars.LazyFrame
            Those that are at hand.
        figures : mapping of str to polars.Expr
            Sums; but what is called `low` or `high`, or ends in ``:low`` or ``:high``, is a minimum or a maximum.

        Returns
        -------
        dict of str to int or float
            Of all rows of the log.

        """
        ...


def count_here(name: str, rows: pl.LazyFrame, figures: Mapping[str, pl.Expr]) -> dict[str, Any]:
    """Count figures of a log all of whose rows are at hand."""
    return rows.select(**figures).collect().row(0, named=True) if figures else {}
