"""Figures of a command's last attempt and last success, as a Prometheus textfile.

The format is https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from recsys import store
from recsys.errors import OutputError, RecsysError
from recsys.pipeline._result import Result

_log = logging.getLogger("recsys")

#: Gauges, each with what it says; those of `_ATTEMPT` are of the last attempt, the others of the last success.
_HELP = {
    "recsys_exit_status": "Exit status of the last attempt, 0 is success, 79 a gate.",
    "recsys_last_run_timestamp_seconds": "When the last attempt ended.",
    "recsys_duration_seconds": "How long the last attempt took.",
    "recsys_last_success_timestamp_seconds": "When an attempt last succeeded.",
    "recsys_run_info": "What was published last; always 1.",
    "recsys_rows": "Rows of the log and of the output, by what became of them.",
    "recsys_refused_ratio": "Share of the log's rows that was refused.",
    "recsys_stage_seconds": "How long each stage took.",
    "recsys_stage_peak_bytes": "Most memory of the process until the end of each stage.",
    "recsys_normalized_entropy": "Mean log loss over the entropy of the like rate; 1 is the base rate.",
    "recsys_bias": "Likes forecast over likes, less 1.",
}
_ATTEMPT = ("recsys_exit_status", "recsys_last_run_timestamp_seconds", "recsys_duration_seconds")
_OURS = re.compile(r'(recsys_\w+)\{(?:\w+="(?:[^"\\\n]|\\.)*",?)+\} [-+\w.]+', re.ASCII)
_COUNTED = ("read", "refused", "duplicates", "unsettled", "folded", "accepted")
_LARGEST = 2**20
_DEFECT, _INTERRUPTED = 1, 130


@dataclass(frozen=True)
class Sample:
    """One number of a textfile.

    Attributes
    ----------
    name : str
    labels : dict of str to str
    value : float

    """

    name: str
    labels: Mapping[str, str]
    value: float

    def line(self) -> str:
        r"""Write it as the format asks.

        Examples
        --------
        >>> Sample("rows", {"kind": 'a "b"'}, 3).line()
        'rows{kind="a \\"b\\""} 3'

        """
        labels = ",".join(f'{name}="{_escape(value)}"' for name, value in self.labels.items())
        return f"{self.name}{{{labels}}} {_number(self.value)}"


def _escape(value: str) -> str:
    # A name that is no UTF-8 cannot be said in the format: it comes as \udc.., escaped.
    text = value.encode("utf-8", "backslashreplace").decode()
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return (
        str(value)
        if isinstance(value, int)
        else repr(float(value)).replace("inf", "Inf").replace("nan", "NaN")
    )


@contextmanager
def metered(path: Path | None, command: str) -> Iterator[Callable[[Result], Result]]:
    """Write a textfile when the work ends, or fails.

    Parameters
    ----------
    path : pathlib.Path or None
        None writes nothing. One file a command: what stands there is replaced, atomically. After a failure it
        says when and how the attempt ended, and of the rest what the last success said.
    command : str

    Yields
    ------
    callable
        Takes each result, and gives it back.

    Raises
    ------
    OutputError
        Before any work, when the folder is not there; after it, when the file cannot be written and nothing else
        had failed.

    """
    if path is None:
        yield lambda result: result
        return
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(f"the metrics file {path} cannot be written: name a file in a folder that is there")
    began, results = time.perf_counter(), list[Result]()

    def note(result: Result) -> Result:
        results.append(result)
        return result

    try:
        yield note
    except BaseException as error:
        if not isinstance(error, BrokenPipeError) or not results:
            _try_to_write(path, command, _status(error), time.perf_counter() - began)
            raise
        # The work was done; who read our words has gone.
        _write(path, command, 0, time.perf_counter() - began, results[-1])
        raise
    _write(path, command, 0, time.perf_counter() - began, results[-1] if results else None)


def _status(error: BaseException) -> int:
    if isinstance(error, RecsysError):
        return error.exit_code
    if isinstance(error, SystemExit) and isinstance(error.code, int):  # a signal
        return error.code
    return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else _DEFECT


def _try_to_write(path: Path, command: str, status: int, seconds: float) -> None:
    try:
        _write(path, command, status, seconds)
    except RecsysError as error:  # the error on its way out matters more
        _log.error("%s", error, extra={"event": "metrics_lost"})


def _write(path: Path, command: str, status: int, seconds: float, result: Result | None = None) -> None:
    now, about = time.time(), {"command": command}
    attempt = (status, now, round(seconds, 3))
    samples = [Sample(name, about, value) for name, value in zip(_ATTEMPT, attempt, strict=True)]
    if status == 0:
        samples.append(Sample("recsys_last_success_timestamp_seconds", about, now))
    lines = [sample.line() for sample in samples]
    if result is not None and result.stages:
        lines += [sample.line() for sample in describe_result(result, about)]
    said = {_name_of(line) for line in lines}
    # A day that was there already, or a failure, says nothing of rows and figures: the last success still does.
    kept = (
        []
        if result is not None and result.stages
        else [one for one in _read(path) if _name_of(one) not in said]
    )
    store.write_file(path, _render([*lines, *kept]).encode())


def describe_result(result: Result, about: Mapping[str, str]) -> Iterator[Sample]:
    """Give the figures of what was published.

    Parameters
    ----------
    result : Result
    about : mapping of str to str
        Labels of every sample.

    Yields
    ------
    Sample

    """
    info = {"run_id": result.run_id, "as_of": result.as_of.isoformat(), "output": str(result.out)}
    yield Sample("recsys_run_info", {**about, **info, "model_version": result.model_version or ""}, 1)
    rows = {} if result.counts is None else asdict(result.counts)
    counted: dict[str, int | None] = {name: rows.get(name) for name in _COUNTED}
    counted |= {"predicted": result.predictions, "scored": _scored(result)}
    for kind, count in counted.items():
        if count is not None:
            yield Sample("recsys_rows", {**about, "kind": kind}, count)
    if rows.get("read"):
        yield Sample("recsys_refused_ratio", about, rows["refused"] / rows["read"])
    for one in result.stages:
        labels = {**about, "stage": str(one["stage"])}
        yield Sample("recsys_stage_seconds", labels, one["seconds"])
        yield Sample("recsys_stage_peak_bytes", labels, one["peak_mebibytes"] * 2**20)
    if result.evaluation is not None:
        for name in ("normalized_entropy", "bias"):
            yield Sample(f"recsys_{name}", about, result.evaluation.metrics[name].value)


def _scored(result: Result) -> int | None:
    scored = result.evaluation or result.audit
    return None if scored is None else len(scored.losses)


def _name_of(line: str) -> str:
    return line.split("{")[0]


def _read(path: Path) -> list[str]:
    """Read the samples that stand there, and nothing that is not ours."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode(errors="replace")
    except OSError:  # none yet, or none that can be read: it is replaced all the same
        return []
    found = dict.fromkeys(line for line in text.split("\n") if _OURS.fullmatch(line))
    return [line for line in found if _name_of(line) in _HELP]


def _render(lines: list[str]) -> str:
    parts = []
    for name, said in _HELP.items():
        if samples := [line for line in lines if _name_of(line) == name]:
            parts += [f"# HELP {name} {said}", f"# TYPE {name} gauge", *samples]
    return "\n".join(parts) + "\n"
