"""``recsys models``: published versions."""

from __future__ import annotations

from typing import Annotated

import typer

from recsys_cli.options import Stored, Waiting, with_options
from recsys_cli.show import cell, print_json, print_nested, print_table, say

app = typer.Typer(
    help="Published model versions: look at them, choose the one that serves, delete old ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SHOWN = ("model_version", "as_of", "run_id", "current", "normalized_entropy")


def list_models(stored: Stored) -> None:
    """List the versions, newest first."""
    from recsys import store

    found = store.list_models(stored.settings().output.path)
    if stored.json:
        print_json(found.to_dicts())
        return
    columns = [name for name in _SHOWN if name in found.columns]
    print_table(columns, [list(map(cell, row)) for row in found[columns].rows()])


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


def rollback_models(
    waiting: Waiting,
    version: Annotated[
        str | None, typer.Argument(help="A version of `recsys models list`. Default: the next older one.")
    ] = None,
) -> None:
    """Serve another version: the next `recsys predict` takes it."""
    from recsys import store

    before, after = store.rollback(waiting.settings().output.path, version, waiting.wait)
    if waiting.json:
        print_json({"before": before, "current": after})
        return
    say(f"models/current leads to {after}, led to {before or 'nothing'}: the next `recsys predict` serves it")


def prune_models(
    waiting: Waiting,
    keep: Annotated[int | None, typer.Option(min=1, help="Versions to keep; the current one stays.")] = None,
    keep_days: Annotated[int | None, typer.Option(min=1, help="Days of predictions to keep.")] = None,
) -> None:
    """Delete what output.keep and output.keep_days do not keep."""
    from recsys import store

    output = waiting.settings(output={"keep": keep, "keep_days": keep_days}).output
    pruned = store.prune(output.path, output.keep, output.keep_days, waiting.wait)
    if waiting.json:
        print_json(vars(pruned))
        return
    for what, names in vars(pruned).items():
        say(f"{what}: {', '.join(names) or 'none'}")


app.command("list")(with_options(list_models))
app.command("show")(with_options(show_model))
app.command("rollback")(with_options(rollback_models))
app.command("prune")(with_options(prune_models))
