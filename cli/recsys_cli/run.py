"""``recsys run``: the cron job."""

from __future__ import annotations

from recsys_cli.options import Daily
from recsys_cli.show import print_result


def run(daily: Daily) -> None:
    """Check, train, evaluate, gate, predict and publish: the cron job."""
    from recsys import pipeline

    with daily.metered("run") as done:
        for result in pipeline.each_day(daily.jobs("run"), pipeline.run):
            print_result(done(result), daily.json)
