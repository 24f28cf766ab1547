"""Commands run through `main`, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from recsys import report
from recsys_cli.app import main

_PAGES = ("render_evaluation", "render_audit")


@dataclass(frozen=True)
class Said:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def results(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Said]


def leave_pages_empty(patch: pytest.MonkeyPatch) -> None:
    """Publish pages without a word: to draw them is half of what a small run costs."""
    for name in _PAGES:
        patch.setattr(f"recsys.pipeline._outbox.{name}", lambda *_: "<html></html>")


def fill_pages(patch: pytest.MonkeyPatch) -> None:
    """Publish whole pages again."""
    for name in _PAGES:
        patch.setattr(f"recsys.pipeline._outbox.{name}", getattr(report, name))


def caller(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]
) -> Call:
    """Give a function that runs a command with these settings in the environment, and leaves pages empty."""
    leave_pages_empty(monkeypatch)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Said(int(stop.value.code or 0), said.out, said.err)

    return run
