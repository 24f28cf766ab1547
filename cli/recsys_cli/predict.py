"""``recsys predict``: a day of predictions from a published version."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recsys_cli.options import Daily
from recsys_cli.show import print_result


class Exclude(StrEnum):
    """Which pairs are not recommended again."""

    seen = "seen"
    liked = "liked"
    none = "none"


def predict(
    daily: Daily,
    model: Annotated[str, typer.Option(help="A version of `recsys models list`.")] = "current",
    users: Annotated[
        Path | None, typer.Option(help="Table of user_id: whom to predict for. Replaces the whole day.")
    ] = None,
    items: Annotated[Path | None, typer.Option(help="Table of item_id: the eligible catalogue.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="Table of user_id, item_id: score these. Replaces the whole day.")
    ] = None,
    top_n: Annotated[int | None, typer.Option(min=1, help="Items a user.")] = None,
    exclude: Annotated[Exclude | None, typer.Option(help="Pairs not to recommend again.")] = None,
) -> None:
    """Publish the likeliest items of every user, or the probabilities of given pairs."""
    from recsys import pipeline
    from recsys.events import read_table

    given = {"users": users, "items": items, "pairs": pairs}
    with daily.metered("predict") as done:
        tables = {
            name: None if path is None else read_table(path, f"--{name}") for name, path in given.items()
        }
        jobs = daily.jobs("predict", top_n=top_n, exclude=exclude and exclude.value)
        for result in pipeline.each_day(jobs, lambda job: pipeline.predict(job, model, **tables)):
            print_result(done(result), daily.json)
