"""``recsys simulate``: a log with known truth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from recsys_cli.options import Said
from recsys_cli.show import print_json


def simulate(
    said: Said,
    out: Annotated[Path, typer.Argument(help="Folder to write: the log, its truth, recsys.toml.")],
    preset: Annotated[
        str, typer.Option(help="small, null (presses tell nothing about taste) or large.")
    ] = "small",
    exposures: Annotated[int | None, typer.Option(help="Rows of the log.")] = None,
    users: Annotated[int | None, typer.Option(help="People; one to 50 exposures unless given.")] = None,
    items: Annotated[int | None, typer.Option(help="Things; one to 200 exposures unless given.")] = None,
    days: Annotated[int | None, typer.Option(help="Length of the log.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same bytes.")] = None,
    beta_like: Annotated[
        float | None, typer.Option(help="How directly a press depends on taste, beyond dwell.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Write into a folder that is not empty.")] = False,
) -> None:
    """Write a simulated exposure log whose true probabilities are known."""
    from recsys import simulation

    world = simulation.World.preset(
        preset, exposures=exposures, users=users, items=items, days=days, seed=seed, beta_like=beta_like
    )
    made = simulation.simulate(world)
    simulation.write_simulation(made, out, overwrite=overwrite)
    likes = int(made.events["liked"].sum())
    if said.json:
        print_json({"output": str(out), "likes": likes, **asdict(world)})
        return
    typer.echo(
        f"{out}: {world.exposures:,} exposures of {world.items:,} items to {world.users:,} users "
        f"over {world.days} days, {likes:,} likes"
    )
