"""Bounds that a run must meet before anything is published."""

from __future__ import annotations

from recsys.config import Settings
from recsys.errors import GateError
from recsys.evaluation import Evaluation


def check_gates(evaluation: Evaluation, settings: Settings) -> None:
    """Hold an evaluation against the bounds that publishing needs.

    Parameters
    ----------
    evaluation : Evaluation
    settings : Settings

    Raises
    ------
    GateError
        Naming the figure and the bound.

    """
    entropy, bound = evaluation.metrics["normalized_entropy"].value, settings.gates.max_normalized_entropy
    if not entropy <= bound:
        raise GateError(
            f"normalized_entropy is {entropy:.4f}, above gates.max_normalized_entropy = {bound:g}: "
            "nothing was published"
        )
