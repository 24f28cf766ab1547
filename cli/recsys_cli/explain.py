"""``recsys explain``: why a probability is what it is."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Shared
from recsys_cli.show import print_explanation


def explain(
    shared: Shared,
    user: Annotated[str, typer.Argument(help="A user_id.")],
    item: Annotated[
        str | None, typer.Argument(help="An item_id. Default: the one that predict would put first.")
    ] = None,
    model: Annotated[str, typer.Option(help="A version of `recsys models list`.")] = "current",
) -> None:
    """Say why a probability is what it is: what moved it from the base rate, in numbers that add up."""
    from recsys import pipeline

    print_explanation(pipeline.explain(shared.job("explain"), user, item, model), shared.json)
