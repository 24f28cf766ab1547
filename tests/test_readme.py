"""The README holds what it says: its two commands are CI's, its snippets run, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import leave_pages_empty

from recsys_cli.app import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in SHELL for line in block.splitlines() if line and not line.startswith("#")]
SETUP = "pip install uv && "
QUICK = {
    "RECSYS_MODEL__ITERATIONS": "3",
    "RECSYS_MODEL__CUTS": "1",
    "RECSYS_EVALUATION__BOOTSTRAPS": "100",
    "RECSYS_EVALUATION__NULL_DRAWS": "100",
    "RECSYS_AUDIT__SEEDS": "2",
    "RECSYS_AUDIT__PLACEBOS": "2",
    "RECSYS_AUDIT__HEADS": '["logistic"]',
}


def test_two_commands_set_everything_up_and_ci_runs_them() -> None:
    first, second = (command for command in COMMANDS if command.startswith(SETUP))
    ci = (ROOT / ".ci/run").read_text()
    assert first.replace("-o out", '-o "$scratch/out"') in ci
    assert second in ci


def runs_here(command: str) -> bool:
    return command.startswith((SETUP, "recsys ")) and "pytest" not in command


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "events.parquet").symlink_to(ROOT / "data/sample/events.parquet")
    return folder


def test_every_recsys_command_runs_in_the_order_it_is_shown(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    commands = [
        command.removeprefix(SETUP).removeprefix("uv run ") for command in COMMANDS if runs_here(command)
    ]
    assert len(commands) >= 4
    for command in commands:
        words = command.split("#")[0].split()
        assert words[0] == "recsys"
        # The first as a process of its own; to start one is most of what the others cost.
        if command == commands[0]:
            subprocess.run([sys.executable, "-m", "recsys_cli", *words[1:]], capture_output=True, check=True)
            leave_pages_empty(monkeypatch)
            continue
        with pytest.raises(SystemExit) as stop:
            main(words[1:])
        assert not stop.value.code, f"{command}: {capsys.readouterr().err}"


@pytest.mark.parametrize("snippet", PYTHON)
def test_every_python_snippet_runs(snippet: str, monkeypatch: pytest.MonkeyPatch, checkout: Path) -> None:
    monkeypatch.chdir(checkout)
    exec(compile(snippet, "README.md", "exec"), {})


def test_no_figure_is_still_to_be_filled_in() -> None:
    assert "@@" not in README


def test_every_relative_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_map_names_every_module() -> None:
    modules = {
        path.name.removesuffix(".py") for path in (ROOT / "recsys").iterdir() if not path.name.startswith("_")
    }
    for module in modules - {"py.typed"}:
        assert re.search(rf"^\s+{module}(\.py|/)?\s", README, re.MULTILINE), module
