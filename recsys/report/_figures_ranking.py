"""Figures of the ranking."""

from __future__ import annotations

import polars as pl

from recsys.report._format import format_count, format_number, format_signed
from recsys.report._parts import Figure, tabulate
from recsys.report._rows import draw_intervals, name_rows
from recsys.report._svg import QUIET, canvas, to_svg

_TRIED = {
    "candidates": ("candidates", format_count),
    "ndcg": ("NDCG@10", format_number),
    "recall": ("Recall@20", format_number),
    "difference": ("NDCG@10 less that of the most", format_signed),
    "low": ("95 % from", format_signed),
    "high": ("to", format_signed),
}


def draw_candidates(tried: pl.DataFrame) -> Figure:
    """Draw what fewer candidates cost the ranking.

    Parameters
    ----------
    tried : polars.DataFrame
        A row a number of `candidates`, the fewest first: `ndcg`, `recall`; `difference`, `low`, `high` of
        NDCG@10 to the last row, paired.

    Returns
    -------
    Figure

    """
    name, title = "candidates", "What fewer candidates cost the ranking"
    alt = "Paired difference of NDCG@10 to the most candidates, with its 95 % interval. " + " ".join(
        f"{row['candidates']:,}: {row['difference']:+.4f}." for row in tried.to_dicts()
    )
    with canvas(0.9 + 0.3 * len(tried)) as drawn:
        axes = drawn.add_subplot()
        axes.axvline(0, color=QUIET, linewidth=0.9, linestyle="--")
        draw_intervals(axes, tried, "difference", ("low", "high"), [False] * len(tried))
        name_rows(axes, [f"{number:,}" for number in tried["candidates"]])
        axes.set_ylabel("candidates")
        axes.set_xlabel("NDCG@10 less that of the most candidates")
        svg = to_svg(drawn, name, title, alt)
    note = (
        "Candidates are what each factorisation, and the crowd, may propose to a user; the likeliest of them "
        "are recommended. The last row is compared with itself."
    )
    return Figure(name, title, alt, note, svg, (tabulate(tried, title, _TRIED),))
