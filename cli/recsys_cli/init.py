"""``recsys init``: propose a recsys.toml for a log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_cli.options import Said
from recsys_cli.show import print_json, say


def init(
    said: Said,
    events: Annotated[Path, typer.Argument(help="The log: a file, a folder or a glob.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("recsys.toml"),
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
) -> None:
    """Look at a log's columns and propose a commented recsys.toml."""
    from recsys import store
    from recsys.errors import OutputError
    from recsys.events import propose_config

    if output.exists() and not overwrite:
        raise OutputError(f"{str(output)!r} is there already: give --overwrite, or another --output")
    store.write_file(output, propose_config(events, output.parent).encode())
    if said.json:
        print_json({"wrote": str(output)})
        return
    say(f"wrote {output}: read it, then `recsys check -c {output}`")
