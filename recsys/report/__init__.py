"""Results -> one self-contained HTML file. Nothing here computes a result or touches a disk.

.. code-block:: text

    _format      figures as people read them
    _parts       tables, and figures with the tables behind them
    _svg         a matplotlib figure -> an SVG that belongs to the page
    _rows        points with intervals, a row each
    _figures, _figures_bias   one function a figure
    _words       what the page says in sentences
    _sections    figures and tables, section by section
    _evaluation  the page
"""

from recsys.report._evaluation import render_evaluation
from recsys.report._format import format_estimate
from recsys.report._words import headline

__all__ = ["format_estimate", "headline", "render_evaluation"]
