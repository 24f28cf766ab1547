"""``recsys train``: fit and publish one model version."""

from __future__ import annotations

from recsys_cli.options import Publishing
from recsys_cli.show import print_result


def train(shared: Publishing) -> None:
    """Fit and publish one model version."""
    from recsys import pipeline

    print_result(pipeline.train(shared.job("train")), shared.json)
