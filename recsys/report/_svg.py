"""From a matplotlib figure to an SVG that belongs to the page: its colours, its fonts, its ids."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

#: Stand-ins for colours of the page, so that a figure is dark where the page is.
INK, QUIET, LINE, BAND, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
PAPER = "#070707"
_VARIABLES = {INK: "ink", QUIET: "quiet", LINE: "line", BAND: "band", FIRST: "first", SECOND: "second"}
_VARIABLES |= {PAPER: "paper"}
_WIDTH = 5.0  # inches; narrow, so that its text can still be read at 380 px
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
}


@contextmanager
def canvas(height: float) -> Iterator[Canvas]:
    """Give a figure to draw on.

    Parameters
    ----------
    height : float
        Inches; the width is the same for all.

    Yields
    ------
    matplotlib.figure.Figure

    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        yield Canvas(figsize=(_WIDTH, height), layout="constrained")


def short(label: str, width: int = 24) -> str:
    """Fit a label beside an axis; the table has it whole."""
    shown = "".join(letter if letter.isprintable() else " " for letter in label)
    return textwrap.shorten(shown, width, placeholder="…") or shown[: width - 1] + "…"


def to_svg(drawn: Canvas, name: str, title: str, alt: str) -> Markup:
    """Write a figure as an element of an HTML page.

    Parameters
    ----------
    drawn : matplotlib.figure.Figure
        Inside its `canvas`.
    name : str
        Unique in the page.
    title, alt : str
        What a screen reader says of it.

    Returns
    -------
    markupsafe.Markup

    """
    written = io.StringIO()
    with warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        drawn.savefig(written, format="svg", metadata={"Date": None}, transparent=True)
    svg = written.getvalue()
    svg = svg[svg.index("<svg") :]
    body = svg[svg.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    # Ids are unique in a page, and matplotlib begins each figure with figure_1.
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, f"var(--{variable})")
    # Which way it is written differs between releases; the page names the font.
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    (box,) = re.findall(r'viewBox="[^"]*"', svg[: svg.index(">")])
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box} role="img" aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(alt)}</desc>{body}'
    )
