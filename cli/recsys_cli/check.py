"""``recsys check``: read and validate a log."""

from __future__ import annotations

from recsys_cli.options import Shared
from recsys_cli.show import print_json, say


def check(shared: Shared) -> None:
    """Read and validate the log; --output DIR gets the refused rows."""
    from recsys import events, pipeline

    job = shared.job("check")
    log = pipeline.check(job, shared.output)
    found = events.profile(log)
    if shared.json:
        print_json(found)
    else:
        say(events.describe(found))
