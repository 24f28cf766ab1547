"""``recsys tune``: settings chosen on the calibration window."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Publishing
from recsys_cli.show import print_tuned


def tune(
    shared: Publishing,
    trials: Annotated[
        int, typer.Option(min=1, help="In all: run again with the same log and settings, it goes on.")
    ] = 30,
    timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which no trial begins. Default: no limit.")
    ] = None,
) -> None:
    """Choose the model's settings on the calibration window: OUT/tuned.toml. Needs recsys[tune]."""
    from recsys import pipeline

    print_tuned(pipeline.tune(shared.job("tune"), trials, timeout), shared.json)
