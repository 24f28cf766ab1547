"""``recsys evaluate``: probabilities and ranking on the test window."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Publishing
from recsys_cli.show import print_result


def evaluate(
    shared: Publishing,
    model: Annotated[
        str | None, typer.Option(help="Score this published version, on rows after its as_of.")
    ] = None,
) -> None:
    """Score probabilities and ranking on the test window."""
    from recsys import pipeline

    print_result(pipeline.evaluate(shared.job("evaluate"), model), shared.json)
