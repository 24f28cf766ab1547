"""``recsys models``: published versions."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Stored, with_options
from recsys_cli.show import print_json, print_nested, print_table

app = typer.Typer(help="Look at published model versions.", no_args_is_help=True, rich_markup_mode=None)

_SHOWN = ("model_version", "as_of", "run_id", "current", "normalized_entropy")


def list_models(stored: Stored) -> None:
    """List the versions, newest first."""
    from recsys import store

    found = store.list_models(stored.settings().output.path)
    if stored.json:
        print_json(found.to_dicts())
        return
    columns = [name for name in _SHOWN if name in found.columns]
    print_table(
        columns, [["" if cell is None else str(cell) for cell in row] for row in found[columns].rows()]
    )


def show_model(
    stored: Stored,
    version: Annotated[str, typer.Argument(help="A version of `recsys models list`.")] = "current",
) -> None:
    """Show one version: what it is made of, and the run that made it."""
    from recsys import store

    found = store.describe_model(stored.settings().output.path, version)
    if stored.json:
        print_json(found)
        return
    print_nested(found)


app.command("list")(with_options(list_models))
app.command("show")(with_options(show_model))
