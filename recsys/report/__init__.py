"""Results -> one self-contained HTML file. Nothing here computes a result or touches a disk."""

from recsys.report._evaluation import format_estimate, headline, render_evaluation

__all__ = ["format_estimate", "headline", "render_evaluation"]
