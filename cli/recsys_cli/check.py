"""``recsys check``: read and validate a log."""

from __future__ import annotations

import typer

from recsys_cli.options import Shared
from recsys_cli.show import print_json


def check(shared: Shared) -> None:
    """Read and validate the log; --output DIR gets the refused rows."""
    from recsys import events, pipeline

    job = shared.job("check")
    log = pipeline.check(job, shared.output)
    found = events.profile(log)
    if shared.json:
        print_json(found)
    else:
        typer.echo(events.describe(found))
