"""``recsys models``: published versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_cli.show import print_json, print_table

app = typer.Typer(help="Look at published model versions.", no_args_is_help=True, rich_markup_mode=None)

_Output = Annotated[Path, typer.Option("--output", "-o", envvar="RECSYS_OUTPUT", help="The output folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print for machines.")]
_SHOWN = ("model_version", "as_of", "run_id", "current", "normalized_entropy")


@app.command("list")
def list_models(output: _Output = Path("out"), json: _Json = False) -> None:
    """List the versions, newest first."""
    from recsys import store

    found = store.list_models(output)
    if json:
        print_json(found.to_dicts())
        return
    columns = [name for name in _SHOWN if name in found.columns]
    print_table(
        columns, [["" if cell is None else str(cell) for cell in row] for row in found[columns].rows()]
    )


@app.command("show")
def show_model(
    version: Annotated[str, typer.Argument(help="A version of `recsys models list`.")] = "current",
    output: _Output = Path("out"),
    json: _Json = False,
) -> None:
    """Show one version: what it is made of, and the run that made it."""
    from recsys import store

    found = store.describe_model(output, version)
    if json:
        print_json(found)
        return
    print_table(("key", "value"), [(str(key), str(value)) for key, value in found.items()])
