"""Results on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from recsys.evaluation import Evaluation
    from recsys.pipeline import Result, Tuned

_FIGURES = ("normalized_entropy", "auc", "gauc", "log_loss", "bias", "ndcg@10", "recall@20")


def print_json(value: Any) -> None:
    """Print a value for machines."""
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns."""
    lines = [list(heading), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_nested(value: Mapping[str, Any]) -> None:
    """Print nested figures, one a line, keys joined by dots."""
    print_table(("what", "found"), list(_flat(value)))


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, one in value.items():
        if isinstance(one, Mapping) and one:
            yield from _flat(one, f"{above}{key}.")
        else:
            yield above + key, f"{one:.4g}" if isinstance(one, float) else str(one)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the model beside its baselines, a figure a column."""
    from recsys.report import format_estimate, headline

    rows, window = evaluation.rows, evaluation.window
    typer.echo(
        f"test window {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC: "
        f"{rows['exposures']:,} exposures, {rows['likes']:,} likes, {rows['users']:,} users"
    )
    models = {"recsys": evaluation.metrics, **evaluation.baselines}
    print_table(
        ("model", *_FIGURES),
        [(name, *(format_estimate(found[key]) for key in _FIGURES)) for name, found in models.items()],
    )
    typer.echo(headline(evaluation))


def print_result(result: Result, as_json: bool) -> None:
    """Print what a command published."""
    if as_json:
        print_json(
            {
                "output": str(result.out),
                "run_id": result.run_id,
                "as_of": result.as_of.isoformat(),
                "model_version": result.model_version,
                "predictions": result.predictions,
                "evaluation": result.evaluation.as_dict() if result.evaluation else None,
            }
        )
        return
    if result.evaluation:
        print_evaluation(result.evaluation)
    wrote = [f"run {result.run_id} in {result.out}, as of {result.as_of.isoformat()}"]
    if result.model_version:
        wrote.append(f"model {result.model_version}")
    if result.predictions is not None:
        wrote.append(f"{result.predictions:,} predictions")
    typer.echo("published " + ", ".join(wrote))


def print_tuned(tuned: Tuned, as_json: bool) -> None:
    """Print the trials, best first, and what they amount to."""
    found = tuned.tuning
    if as_json:
        print_json({"config": str(tuned.config), "trials_table": str(tuned.trials), **found.as_dict()})
        return
    typer.echo(
        f"calibrate window {found.window.start:%Y-%m-%d %H:%M} to {found.window.end:%Y-%m-%d %H:%M} UTC: "
        f"{found.rows:,} exposures scored, {found.likes:,} likes"
    )
    best_first = found.trials.sort("normalized_entropy", "fold_1", "trial", nulls_last=True)
    print_table(best_first.columns, [list(map(_cell, row)) for row in best_first.rows()])
    typer.echo(found.verdict)
    typer.echo(f"wrote {tuned.config}: `recsys run -c {tuned.config}`, or `recsys evaluate` to judge it")


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
