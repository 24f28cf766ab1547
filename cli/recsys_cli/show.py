"""Results on stdout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import typer

from recsys.errors import OutputError
from recsys_cli.logs import plain

if TYPE_CHECKING:
    from recsys.audit import Audit, Lift
    from recsys.evaluation import Evaluation
    from recsys.model import Explanation, PastItems
    from recsys.pipeline import Result, Tuned

_PAST_ITEMS = 5
_OUTCOMES = {
    "published": "published ",
    "unchanged": "the same bytes are published already, nothing changed: ",
    "present": "published already, nothing was done: ",
}
_FIGURES = ("normalized_entropy", "auc", "gauc", "log_loss", "bias", "ndcg@10", "recall@20")


def say(text: str) -> None:
    """Print a result.

    Parameters
    ----------
    text : str

    Raises
    ------
    OutputError
        When stdout takes no more, as on a full disk; not when whoever read it has gone.

    """
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise OutputError(
            f"stdout cannot be written: {why}: make room there, what was published stays"
        ) from error


def print_json(value: Any) -> None:
    """Print a value for machines."""
    say(json.dumps(value, ensure_ascii=False, allow_nan=False, default=str))


def count_of(number: int, what: str) -> str:
    """Write a number of things, as in 1 run or 2,000 files."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def cell(value: Any) -> str:
    """Write a value so that a table can hold it."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns."""
    lines = [[plain(one) for one in line] for line in (heading, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    for line in lines:
        say("  ".join(one.ljust(width) for one, width in zip(line, widths, strict=True)).rstrip())


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
    say(
        f"test window {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC: "
        f"{rows['exposures']:,} exposures, {rows['likes']:,} likes, {rows['users']:,} users"
    )
    models = {"recsys": evaluation.metrics, **evaluation.baselines}
    print_table(
        ("model", *_FIGURES),
        [(name, *(format_estimate(found[key]) for key in _FIGURES)) for name, found in models.items()],
    )
    say(headline(evaluation))


def print_audit(audit: Audit) -> None:
    """Print the verdict, the ladder and the lifts, then what failed and what the log cannot answer."""
    from recsys.report import headline_audit

    rows, window = audit.rows, audit.windows.test
    say(
        f"test window {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC: {rows['scored']:,} exposures, "
        f"{rows['scored_likes']:,} likes, {rows['users']:,} users; {rows['past_likes']:,} past likes\n"
    )
    for sentence in audit.verdict.sentences or (headline_audit(audit),):
        say(sentence)
    _print_ladder(audit)
    _print_lifts(audit)
    _print_controls(audit)
    if audit.missing:
        say("\nnot estimable from this log")
    for one in audit.missing:
        say(f"  {one.question} {one.why.rstrip('.')}; needs {one.needs.rstrip('.')}")


def _print_ladder(audit: Audit) -> None:
    say("\nknown before the press: explained share of the like, in %, with its 95 % interval")
    rows = []
    for rung in audit.known.ladder:
        more = _figure(math.nan if rung.increment is None else 100 * rung.increment.value, "+.2f")
        ends = [_figure(100 * end, ".2f") for end in (rung.explained.low, rung.explained.high)]
        left = _figure(audit.known.bits_left.get(rung.name, math.nan), ".2f")
        rows.append((rung.name, _figure(100 * rung.explained.value, ".2f"), *ends, more, left, rung.inputs))
    print_table(("rung", "explained", "low", "high", "beyond last", "bits left", "inputs"), rows)


def _print_lifts(audit: Audit) -> None:
    from recsys.audit import PIECES

    say(
        "\nlike lift over the habit placebo, in NE points, with its two-sided 95 % interval\n"
        f"and the pieces of past likes, given {audit.verdict.given}; crowd and taste make up the lift"
    )
    named = [piece.replace("_", " ") for piece in PIECES]
    print_table(("outcome", "head", "lift", "low", "high", *named), map(_lift_row, audit.lifts))


def _lift_row(one: Lift) -> tuple[str, ...]:
    from recsys.audit import PIECES

    found = one.value.interval
    pieces = [one.pieces[name].value if name in one.pieces else math.nan for name in PIECES]
    figures = (found.value, found.low, found.high, *pieces)
    return one.outcome, one.head, *(_figure(100 * figure, "+.3f") for figure in figures)


def _print_controls(audit: Audit) -> None:
    failed = [one for one in audit.controls if not one.passed]
    passed = f"{len(audit.controls) - len(failed)} of {len(audit.controls)} passed"
    say(f"\ncontrols: {passed if audit.controls else 'none was run'}")
    for one in failed:
        say(f"  FAILED{', stops the audit' if one.stops else ''}: {one.name.replace('_', ' ')}: {one.said}")


def _figure(number: float, spec: str) -> str:
    return format(number, spec) if math.isfinite(number) else "-"


def print_result(result: Result, as_json: bool) -> None:
    """Print what a command published."""
    if as_json:
        print_json(
            {
                "output": str(result.out),
                "outcome": result.outcome,
                "run_id": result.run_id,
                "as_of": result.as_of.isoformat(),
                "model_version": result.model_version,
                "predictions": result.predictions,
                "evaluation": result.evaluation.as_dict() if result.evaluation else None,
                "audit": result.audit.as_dict() if result.audit else None,
            }
        )
        return
    if result.evaluation:
        print_evaluation(result.evaluation)
    if result.audit:
        print_audit(result.audit)
    wrote = [f"run {result.run_id} in {result.out}, as of {result.as_of.isoformat()}"]
    if result.model_version:
        wrote.append(f"model {result.model_version}")
    if result.predictions is not None:
        wrote.append(f"{result.predictions:,} predictions")
    say(_OUTCOMES[result.outcome] + ", ".join(wrote))


def print_explanation(why: Explanation, as_json: bool) -> None:
    """Print the steps from the base rate to a probability, then the past items behind them."""
    if as_json:
        print_json(why.as_dict())
        return
    user, item = plain(str(why.user_id)), plain(str(why.item_id))
    say(
        f"user {user}, item {item}, as of {why.as_of:%Y-%m-%d %H:%M} UTC: will_like "
        f"{_percent(why.will_like)} ({_percent(why.low)} to {_percent(why.high)})"
    )
    for note in why.notes:
        say(plain(note))
    steps = why.steps()
    # Round what has been reached, not what is added: then the column adds up as it is printed.
    reached = [0.0, *steps["log_odds"].cum_sum().round(2)]
    added = [f"{after - before:+7.2f}" for before, after in pairwise(reached)]
    rows = zip(added, map(_percent, steps["probability"]), steps["what"], strict=True)
    last = (f"{reached[-1]:+7.2f}", _percent(why.will_like), "will_like, the sum")
    print_table(("log-odds", "reached", "what moves it"), [*rows, last])
    for one in why.past:
        _print_past(one)


def _print_past(one: PastItems) -> None:
    shown = _PAST_ITEMS + (len(one.items) == _PAST_ITEMS + 1)
    named, others = one.items.head(shown), one.items.slice(shown)
    say(
        f"\nALS of '{one.signal}': score {one.recomputed:+.3f} from {count_of(len(one.items), 'past item')}, "
        f"served as {one.served:+.3f} (its solver is approximate)"
    )
    rows = [(f"{row['score']:+.3f}", f"item {row['item_id']}") for row in named.iter_rows(named=True)]
    if len(others):
        rows.append((f"{others['score'].sum():+.3f}", f"the other {len(others)} together"))
    print_table(("adds", "past item"), rows)


def _percent(probability: float) -> str:
    return f"{100 * probability:#.3g}".rstrip(".") + " %"


def print_tuned(tuned: Tuned, as_json: bool) -> None:
    """Print the trials, best first, and what they amount to."""
    found = tuned.tuning
    if as_json:
        print_json({"config": str(tuned.config), "trials_table": str(tuned.trials), **found.as_dict()})
        return
    say(
        f"calibrate window {found.window.start:%Y-%m-%d %H:%M} to {found.window.end:%Y-%m-%d %H:%M} UTC: "
        f"{found.rows:,} exposures scored, {found.likes:,} likes"
    )
    best_first = found.trials.sort("normalized_entropy", "fold_1", "trial", nulls_last=True)
    print_table(best_first.columns, [list(map(cell, row)) for row in best_first.rows()])
    say(found.verdict)
    say(f"wrote {tuned.config}: `recsys run -c {tuned.config}`, or `recsys evaluate` to judge it")
