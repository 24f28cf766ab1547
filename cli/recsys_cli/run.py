"""``recsys run``: the cron job."""

from __future__ import annotations

from recsys_cli.options import Shared
from recsys_cli.show import print_result


def run(shared: Shared) -> None:
    """Check, train, evaluate, gate, predict and publish: the cron job."""
    from recsys import pipeline

    print_result(pipeline.run(shared.job("run")), shared.json)
