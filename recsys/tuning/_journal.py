"""Finished trials on disk, one line each: a killed study loses the trial that was running, and no other."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.errors import InputError, OutputError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

_log = logging.getLogger("recsys")
_NAME = "recsys"


class _HeldElsewhere:
    """Whoever tunes holds the lock of the output folder: Optuna's own would outlive a killed process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


@dataclass
class Journal:
    """An Optuna journal file, which other tools of Optuna read.

    A trial is written when it has finished, by one append. So there are no trials left running, and what a
    crash may tear is the last line.

    Attributes
    ----------
    path : pathlib.Path or None
        None keeps nothing.

    """

    path: Path | None
    _study: Study | None = None

    def trials(self) -> list[FrozenTrial]:
        """Read the finished trials, in order.

        Raises
        ------
        InputError
            When the file is no journal.

        """
        if self.path is None or not self.path.exists():
            return []
        try:
            self._drop_torn_end(self.path)
            return self._opened(self.path).get_trials(deepcopy=False)
        except (ValueError, KeyError, TypeError, AssertionError, OSError) as error:
            raise InputError(
                f"{self.path} is not a journal of trials ({error!r}): remove it to begin again"
            ) from None

    def add(self, trial: FrozenTrial) -> None:
        """Append a finished trial.

        Raises
        ------
        OutputError
            When the file cannot be written.

        """
        if self.path is None:
            return
        with _output_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._opened(self.path).add_trial(trial)

    def _opened(self, path: Path) -> Study:
        if self._study is None:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend

            lock: Any = _HeldElsewhere()
            storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
            self._study = optuna.create_study(
                storage=storage, study_name=_NAME, load_if_exists=True, direction="minimize"
            )
        return self._study

    def _drop_torn_end(self, path: Path) -> None:
        # Optuna would append to half a line, and could never read the file again.
        content = path.read_bytes()
        whole = sum(len(line) for line in _whole_lines(content))
        if whole < len(content):
            _log.warning("%s ends in a torn line: that trial is run again", path)
            with _output_errors(path), path.open("r+b") as file:
                file.truncate(whole)


def _whole_lines(content: bytes) -> Iterator[bytes]:
    for line in content.splitlines(keepends=True):
        if not line.endswith(b"\n") or not _is_json(line):
            return
        yield line


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
