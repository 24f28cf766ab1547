"""What the page says in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

import polars as pl

from recsys.evaluation import Evaluation
from recsys.inference import Estimate
from recsys.report._format import format_bias, format_share

GAIN = "normalized_entropy_gain"
OURS = "recsys"
_MODELS = {
    "base_rate": "base rate",
    "item_rate": "item rate",
    "user_item_rate": "user and item rate",
    "all_rates": "all rates and counts",
    "no_factors": "recsys without factors",
    "like_als": "calibrated like-ALS alone",
}
_KINDS = {
    "forecast": "Tenths of the exposures by forecast",
    "activity": "Tenths of the exposures by how much the user was shown before",
    "popularity": "Tenths of the exposures by how often the item was shown before",
    "warmth": "Users and items never seen before, and the others",
    "creator": "Creators with the most exposures",
}


def name_model(name: str) -> str:
    """Give a model's name in words; its own where there are none."""
    return _MODELS.get(name, name)


def name_models(evaluation: Evaluation) -> dict[str, dict[str, Estimate]]:
    """Give every model's figures by its name in words, ours first."""
    baselines = {name_model(name): figures for name, figures in evaluation.baselines.items()}
    return {OURS: evaluation.metrics, **baselines}


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
    gone = [f"{100 * (1 - end):.1f} %" for end in (entropy.value, entropy.high, entropy.low)]
    return (
        f"{gone[0]} of the uncertainty about a like was gone before the exposure "
        f"(95 % interval {gone[1]} to {gone[2]}); "
        f"miscalibration is {verdict} what chance alone would show."
    )


def in_words(evaluation: Evaluation) -> list[str]:
    """Say what the figures mean to someone who does not work with them.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    list of str
        One sentence each.

    """
    return [*_say_lift(evaluation), *_say_bias(evaluation), *_say_best_baseline(evaluation)]


def _say_lift(evaluation: Evaluation) -> Iterator[str]:
    tenths = evaluation.segments.filter(kind="forecast")
    rate = evaluation.rows["likes"] / evaluation.rows["exposures"]
    if len(tenths) < 2:
        return
    top, bottom = tenths.row(-1, named=True), tenths.row(0, named=True)
    share = format_share(top["exposures"] / evaluation.rows["exposures"])
    yield (
        f"The exposures with the highest forecasts ({share} of all) "
        f"were liked {top['like_rate'] / rate:.1f} times as often as the average one, those with the lowest "
        f"{bottom['like_rate'] / rate:.2g} times."
    )


def _say_bias(evaluation: Evaluation) -> Iterator[str]:
    bias = evaluation.calibration.bias
    if not all(map(math.isfinite, (bias.value, bias.low, bias.high))):
        return
    amount, side = format_bias(abs(bias.value)).lstrip("+"), "more" if bias.value > 0 else "fewer"
    chance = "which chance alone could explain" if bias.low <= 0 <= bias.high else "more than chance explains"
    yield (
        f"All forecasts together expected {amount} {side} likes than came "
        f"(95 % interval {format_bias(bias.low)} to {format_bias(bias.high)}), {chance}."
    )


def _say_best_baseline(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.baselines:
        return
    name, figures = min(evaluation.baselines.items(), key=lambda item: item[1]["normalized_entropy"].value)
    gain = figures[GAIN]
    verdict = (
        "is better than" if gain.low > 0 else "is worse than" if gain.high < 0 else "cannot be told from"
    )
    yield (
        f"On the same exposures it {verdict} the best baseline ({name_model(name)}): the difference in "
        f"normalised entropy is {gain.value:.4f} (95 % interval {gain.low:.4f} to {gain.high:.4f})."
    )


def say_candidates(evaluation: Evaluation) -> str:
    """Name the fewest candidates whose ranking cannot be told from that of the most.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    str
        One sentence; nothing where fewer than two numbers were tried.

    """
    if len(evaluation.candidates) < 2:
        return ""
    most = evaluation.candidates[-1]
    fewest = next(one for one in evaluation.candidates if not one.is_below_the_most)
    if fewest is most:
        return (
            f"With any fewer than {most.candidates:,} candidates, the most tried, NDCG@10 is lower by more than "
            "noise."
        )
    gap = fewest.difference
    return (
        f"{fewest.candidates:,} candidates are the fewest whose NDCG@10 is not below that of "
        f"{most.candidates:,} by more than noise (difference {gap.value:+.4f}, 95 % interval {gap.low:+.4f} to "
        f"{gap.high:+.4f}, {most.users:,} users): that is not to say that they are as good."
    )


def name_kind(kind: str) -> str:
    """Give a kind of segments in words."""
    return _KINDS.get(kind, f"Declared groups: {kind.removeprefix('group_')}")


def say_segments(evaluation: Evaluation) -> list[str]:
    """Name the segments that are marked, and the kinds that were not cut.

    Parameters
    ----------
    evaluation : Evaluation

    Returns
    -------
    list of str
        One sentence each.

    """
    found = evaluation.segments
    marked = found.filter("marked").to_dicts()
    said = [f"{len(marked)} of {len(found)} segments are marked."]
    said += [f"{name_kind(row['kind'])}, {row['segment']}: {format_bias(row['bias'])}." for row in marked]
    alone = found.filter(pl.len().over("kind") == 1).to_dicts()
    said += [f"{name_kind(row['kind'])}: one segment only, {row['segment']!r}." for row in alone]
    absent = [name for name in _KINDS if name not in found["kind"]]
    said += [f"{_KINDS[name]}: not estimable, the log has no such column." for name in absent]
    return said
