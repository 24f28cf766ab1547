"""``recsys train``: fit and publish one model version."""

from __future__ import annotations

from recsys_cli.options import Metered
from recsys_cli.show import print_result


def train(shared: Metered) -> None:
    """Fit and publish one model version."""
    from recsys import pipeline

    with shared.metered("train") as done:
        print_result(done(pipeline.train(shared.job("train"))), shared.json)
