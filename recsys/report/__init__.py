"""Results -> one self-contained HTML file. Nothing here computes a result or touches a disk.

.. code-block:: text

    _format      figures as people read them
    _parts       tables, and figures with the tables behind them
    _svg         a matplotlib figure -> an SVG that belongs to the page
    _rows        points with intervals, a row each
    _figures, _figures_*      one function a figure
    _names_audit what the parts of an audit are called
    _words, _words_audit      what a page says in sentences
    _sections, _sections_audit   figures and tables, section by section
    _page        a template and its values -> a page
    _evaluation, _audit       the pages
"""

from recsys.report._audit import render_audit
from recsys.report._evaluation import render_evaluation
from recsys.report._format import format_estimate
from recsys.report._words import headline
from recsys.report._words_audit import headline_audit

__all__ = ["format_estimate", "headline", "headline_audit", "render_audit", "render_evaluation"]
