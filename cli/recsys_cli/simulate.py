"""``recsys simulate``: a log with known truth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.simulation import Knob, World
from recsys_cli.options import Repeatable
from recsys_cli.show import print_json, say


def simulate(
    said: Repeatable,
    out: Annotated[Path, typer.Argument(help="Folder to write: the log, its truth, recsys.toml.")],
    preset: Annotated[
        str,
        typer.Option(
            help="null, small, large (what a press tells of taste beyond dwell); habit, crowd, feedback "
            "(nothing, and a trap); bots, shift, groups; bench. The knobs below turn it further."
        ),
    ] = "small",
    overwrite: Annotated[bool, typer.Option(help="Write into a folder that is not empty.")] = False,
    **knobs: Any,
) -> None:
    """Write a simulated exposure log whose true probabilities are known."""
    from recsys.simulation import write_simulation  # loads NumPy and Polars, World does not

    world = World.preset(preset, seed=said.seed, **knobs)
    truth = write_simulation(world, out, overwrite=overwrite)
    likes = int(truth.items["likes_shown"].sum())
    if said.json:
        print_json({"output": str(out), "likes": likes, **asdict(world)})
        return
    say(
        f"{out}: {world.exposures:,} exposures of {world.items:,} items to {world.users:,} users "
        f"over {world.days} days, {likes:,} likes"
    )


def knob_options() -> dict[str, Any]:
    """Turn the knobs of a world into options, but for the seed; None leaves a knob where the preset has it.

    Returns
    -------
    dict of str to Annotated type
    """
    return {name: _option(knob) for name, knob in World.knobs().items() if name != "seed"}


def _option(knob: Knob) -> Any:
    help = knob.help if knob.default is None else f"{knob.help} [default: {knob.default}]"
    return Annotated[knob.kind | None, typer.Option(help=help)]
