"""``recsys verify``: every published file against its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsys_cli.options import Stored
from recsys_cli.show import count_of, print_json, say


def verify(
    stored: Stored,
    out: Annotated[
        Path | None, typer.Argument(help="The output folder. Default: that of recsys.toml.")
    ] = None,
) -> None:
    """Check every published file against its manifest, and every link; exit 66 when something is damaged."""
    from recsys import store
    from recsys.errors import InputError

    folder = Path(stored.settings().output.path) if out is None else out
    found = store.verify(folder)
    if stored.json:
        print_json(vars(found))
    else:
        for line in (*found.damages, *found.notes):
            say(line)
    if found.damages:
        # As every command that meets a damaged file does.
        raise InputError(
            f"{folder} is damaged in {count_of(len(found.damages), 'place')}: publish those days and versions again"
        )
    if not stored.json:
        counts = {"run": found.runs, "file": found.files, "link": found.links}
        say("whole: " + ", ".join(count_of(number, what) for what, number in counts.items()))
