"""The evaluation report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys.evaluation import Evaluation
from recsys.report import _sections, _words
from recsys.report._page import fill_template
from recsys.report._parts import list_pairs

#: Name in `Evaluation.metrics`, heading, and which way is better.
_PROBABILITIES = (
    ("normalized_entropy", "NE", "lower"),
    ("auc", "AUC", "higher"),
    ("gauc", "GAUC", "higher"),
    ("uauc", "uAUC", "higher"),
    ("log_loss", "log loss", "lower"),
    ("brier_skill", "Brier skill", "higher"),
    ("bias", "bias", "near 0"),
)
_RANKING = (
    ("ndcg@10", "NDCG@10", "higher"),
    ("recall@20", "Recall@20", "higher"),
    ("map@10", "MAP@10", "higher"),
    ("coverage@20", "coverage@20", "share of items shown"),
    ("exposure_gini@20", "Gini@20", "0 is even"),
)


def render_evaluation(
    evaluation: Evaluation,
    about: Mapping[str, Any],
    profile: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Write the evaluation as one HTML file without network access.

    Parameters
    ----------
    evaluation : Evaluation
    about : mapping of str to value
        What it was made from, as name and text.
    profile : mapping of str to value, optional
        What the log holds, from `recsys.events.profile`.
    settings : mapping of str to value, optional
        Nested, as plain values.

    Returns
    -------
    str
        HTML. Every text of the user's is escaped.

    """
    return fill_template(
        "evaluation.html",
        evaluation=evaluation,
        headline=_words.headline(evaluation),
        words=_words.in_words(evaluation),
        rate=evaluation.rows["likes"] / evaluation.rows["exposures"],
        models=_words.name_models(evaluation),
        gain=_words.GAIN,
        probabilities=_PROBABILITIES,
        ranking=_RANKING,
        figures=_sections.main_figures(evaluation),
        calibration=_sections.calibration_table(evaluation),
        segments=_sections.segment_figures(evaluation),
        candidate_words=_words.say_candidates(evaluation),
        segment_words=_words.say_segments(evaluation),
        profile=_sections.profile_tables(profile) if profile else [],
        settings=_sections.settings_table(settings) if settings else None,
        about=list_pairs("This run", ("what", "value"), about.items()),
    )
