"""The evaluation report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from recsys.evaluation import Evaluation
from recsys.inference import Estimate
from recsys.report._figures import draw_reliability

#: Name in `Evaluation.metrics`, heading, and which way is better.
_COLUMNS = (
    ("normalized_entropy", "NE", "lower"),
    ("auc", "AUC", "higher"),
    ("gauc", "GAUC", "higher"),
    ("uauc", "uAUC", "higher"),
    ("log_loss", "log loss", "lower"),
    ("brier_skill", "Brier skill", "higher"),
    ("bias", "bias", "near 0"),
    ("ndcg@10", "NDCG@10", "higher"),
    ("recall@20", "Recall@20", "higher"),
)
_MODELS = {
    "base_rate": "base rate",
    "item_rate": "item rate",
    "user_item_rate": "user and item rate",
    "all_rates": "all rates and counts, no factors",
    "like_als": "calibrated like-ALS alone",
}


def render_evaluation(evaluation: Evaluation, about: Mapping[str, Any]) -> str:
    """Write the evaluation as one HTML file without network access.

    Parameters
    ----------
    evaluation : Evaluation
    about : mapping of str to value
        What else to show, as name and text: the log, the settings, refused rows.

    Returns
    -------
    str
        HTML. Every text of the user's is escaped.

    """
    environment = Environment(
        loader=PackageLoader("recsys.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "estimate": format_estimate,
        "value": format_value,
        "interval": format_interval,
        "instant": format_instant,
    }
    rate = evaluation.rows["likes"] / evaluation.rows["exposures"]
    return environment.get_template("evaluation.html").render(
        evaluation=evaluation,
        headline=headline(evaluation),
        columns=_COLUMNS,
        gain="normalized_entropy_gain",
        models={
            "recsys": evaluation.metrics,
            **{_MODELS.get(k, k): v for k, v in evaluation.baselines.items()},
        },
        rate=rate,
        figure=draw_reliability(evaluation.reliability, evaluation.reliability_null, rate),
        about=dict(about),
    )


def headline(evaluation: Evaluation) -> str:
    """Say the result in one sentence.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    str

    """
    entropy = evaluation.metrics["normalized_entropy"]
    verdict = "above" if evaluation.calibration.above_null_band else "not above"
    return (
        f"{1 - entropy.value:.1%} of the uncertainty about a like was gone before the exposure "
        f"(95 % interval {1 - entropy.high:.1%} to {1 - entropy.low:.1%}); "
        f"miscalibration is {verdict} what chance alone would show."
    )


def format_estimate(figure: Estimate, digits: int = 3) -> str:
    """Write a figure with its interval.

    Parameters
    ----------
    figure : Estimate
    digits : int

    Returns
    -------
    str

    Examples
    --------
    >>> format_estimate(Estimate(0.7104, 0.6864, 0.7350))
    '0.710 (0.686 to 0.735)'
    >>> format_estimate(Estimate(math.nan, math.nan, math.nan))
    'not estimable'

    """
    between = format_interval(figure, digits)
    return f"{format_value(figure, digits)} ({between})" if between else format_value(figure, digits)


def format_value(figure: Estimate, digits: int = 3) -> str:
    """Write a figure alone."""
    return f"{figure.value:.{digits}f}" if math.isfinite(figure.value) else "not estimable"


def format_interval(figure: Estimate, digits: int = 3) -> str:
    """Write an interval alone; nothing where there is none."""
    ends = (figure.value, figure.low, figure.high)
    return f"{figure.low:.{digits}f} to {figure.high:.{digits}f}" if all(map(math.isfinite, ends)) else ""


def format_instant(instant: datetime) -> str:
    """Write an instant to the second."""
    return f"{instant:%Y-%m-%d %H:%M:%S} UTC"
