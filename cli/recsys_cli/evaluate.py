"""``recsys evaluate``: probabilities and ranking on the test window."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Metered
from recsys_cli.show import print_result


def evaluate(
    shared: Metered,
    model: Annotated[
        str | None, typer.Option(help="Score this published version, on rows after its as_of.")
    ] = None,
) -> None:
    """Score probabilities and ranking on the test window."""
    from recsys import pipeline

    with shared.metered("evaluate") as done:
        print_result(done(pipeline.evaluate(shared.job("evaluate"), model)), shared.json)
