"""The Typer application and the one error boundary."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer

from recsys.errors import RecsysError
from recsys_cli import (
    audit,
    check,
    doctor,
    evaluate,
    explain,
    init,
    models,
    predict,
    run,
    runs,
    simulate,
    train,
    tune,
    verify,
)
from recsys_cli.logs import begin, say_failure
from recsys_cli.options import with_options
from recsys_cli.process import end_by, open_streams, stoppable, stopped_by

app = typer.Typer(
    name="recsys",
    help="Predict likes before they happen: calibrated, evaluated, published.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (init.init, check.check):
    app.command(command.__name__)(with_options(command))
app.command("simulate")(with_options(simulate.simulate, simulate.knob_options()))
for after in (
    train.train,
    predict.predict,
    evaluate.evaluate,
    audit.audit,
    run.run,
    tune.tune,
    verify.verify,
    doctor.doctor,
    explain.explain,
):
    app.command(after.__name__)(with_options(after))
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Raises
    ------
    SystemExit
        Always, with the exit status of `recsys.errors`.

    """
    begin()
    open_streams()
    # A name that is no UTF-8 must not stop a line half-way.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stoppable():
            app(args=None if arguments is None else list(arguments), prog_name="recsys")
    except RecsysError as error:
        _fail(str(error), error.exit_code, error.run_id)
    except MemoryError:
        _fail("out of memory: see `recsys doctor` for a forecast", RecsysError.exit_code)
    except SystemExit as ended:
        _end(ended)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of Polars is no Exception
        message = f"unexpected {type(error).__name__}: {error}; this is a defect in recsys"
        _fail(f"{message}, run again with --debug to see where", RecsysError.exit_code)


def _end(ended: SystemExit) -> NoReturn:
    if isinstance(ended.__context__, BrokenPipeError):  # which Typer makes an exit of 1
        # Whoever read our output has gone; Python must not try to flush into nothing at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    if stopped := stopped_by(ended.code):
        say_failure(f"stopped by {stopped.name}: run again", 128 + stopped)
        end_by(stopped)
    raise ended


def _fail(message: str, status: int, run_id: str | None = None) -> None:
    if logging.getLogger("recsys").isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    say_failure(message, status, run_id)
    sys.exit(status)
