"""Results -> one self-contained HTML file. Nothing here computes a result or touches a disk.

.. code-block:: text

    _format      figures as people read them
    _parts       tables, and figures with the tables behind them
    _svg         a matplotlib figure -> an SVG that belongs to the page
    _figures     one function a figure
    _sections    what the page says, section by section
    _evaluation  the page
"""

from recsys.report._evaluation import render_evaluation
from recsys.report._format import format_estimate
from recsys.report._sections import headline

__all__ = ["format_estimate", "headline", "render_evaluation"]
