"""``recsys runs``: what was published, and what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys_cli.options import Stored, with_options
from recsys_cli.show import cell, print_json, print_table, say

if TYPE_CHECKING:
    from recsys.pipeline import Comparison

app = typer.Typer(
    help="Published runs, and what changed between two.", no_args_is_help=True, rich_markup_mode=None
)

_SHOWN = ("run_id", "command", "as_of", "model_version", "normalized_entropy")
_RUN = typer.Argument(help="A run of `recsys runs list`.")


def list_runs(stored: Stored) -> None:
    """List the runs, oldest first."""
    from recsys import store

    found = store.describe_runs(stored.settings().output.path)
    if stored.json:
        print_json(found.to_dicts())
        return
    columns = [name for name in _SHOWN if name in found.columns]
    print_table(columns, [list(map(cell, row)) for row in found[columns].rows()])


def compare(stored: Stored, before: Annotated[str, _RUN], after: Annotated[str, _RUN]) -> None:
    """Say what changed from run BEFORE to run AFTER: settings, rows, metrics, probabilities."""
    from recsys import pipeline

    found = pipeline.compare_runs(stored.settings().output.path, before, after)
    if stored.json:
        print_json(found.as_dict())
    else:
        _print_comparison(found)


def _print_comparison(found: Comparison) -> None:
    heading = ("", str(found.before["run_id"]), str(found.after["run_id"]))
    about = [(name, cell(found.before[name]), cell(found.after[name])) for name in found.before]
    print_table(heading, about[1:])
    for name in ("settings", "versions", "inputs"):
        changes = getattr(found, name)
        say(f"\n{name}: {'' if changes else 'the same'}".rstrip())
        _print_changes(changes)
    say("\nrows")
    _print_changes(found.rows)
    say("\nmetrics, each on its own test window")
    _print_changes({name: (_interval(old), _interval(new)) for name, (old, new) in found.metrics.items()})
    _print_paired(found)
    for name, one in found.drift.items():
        say(
            f"\nprobabilities {name}: stability index {one.stability:.4f} (above 0.25 is a large shift), "
            f"mean {one.mean_before:.4f} to {one.mean_after:.4f}"
        )


def _print_changes(changes: Mapping[str, tuple[Any, Any]]) -> None:
    if changes:
        print_table(("", "before", "after"), [(name, *map(cell, pair)) for name, pair in changes.items()])


def _print_paired(found: Comparison) -> None:
    paired = found.paired
    if paired is None:
        say("\nafter less before: not estimable, no exposure was scored by both")
        return
    say(
        f"\nafter less before, paired on the {paired.rows:,} exposures that both scored "
        f"(of {paired.rows_before:,} and {paired.rows_after:,}), with its 95 % interval by user"
    )
    print_table(
        ("metric", "difference", "low", "high"),
        [
            (name, *(f"{end:+.5f}" for end in (one.value, one.low, one.high)))
            for name, one in paired.differences.items()
        ],
    )


def _interval(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure.get("value") is None:
        return "not estimable"
    ends = [figure.get("low"), figure.get("high")]
    shown = f"{figure['value']:.4f}"
    return shown if None in ends else f"{shown} ({ends[0]:.4f} to {ends[1]:.4f})"


app.command("list")(with_options(list_runs))
app.command("compare")(with_options(compare))
