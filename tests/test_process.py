"""The process around a command: signals, and streams that are closed, full, or read by somebody who has gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.simulation import World, write_simulation
from recsys_cli.app import main

pytestmark = pytest.mark.slow

FAST = {"RECSYS_MODEL__FACTORS": "8", "RECSYS_MODEL__ITERATIONS": "3", "RECSYS_EVALUATION__BOOTSTRAPS": "100"}
HEAD = "import sys, os\nfrom recsys_cli.app import main\n"
MAIN = "main(sys.argv[1:])\n"
# The log is read for ever, in steps that a signal can come between.
SLOW = (
    "import time, recsys.pipeline._run as p\n"
    "p.evaluate_procedure = lambda *_: [time.sleep(.01) for _ in range(10**6)]\n"
)


def start(code: str, *arguments: object, **streams: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEAD + code + MAIN, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, text=True, env={**os.environ, **FAST}, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "small"
    write_simulation(World.preset("small", exposures=4_000, users=100, items=100, seed=4), folder)
    return folder


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, -15), (signal.SIGHUP, -1), (signal.SIGINT, 130)], ids=str
)
def test_a_signal_takes_away_what_was_begun_and_is_told(
    world: Path, tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    out, metrics = tmp_path / "out", tmp_path / "recsys.prom"
    arguments = ("run", "-c", world, "-o", out, "--log-format", "json", "--metrics-file", metrics)
    # Whoever runs the tests may ignore signals, as nohup does.
    heard = "import signal\nsignal.signal(1, signal.SIG_DFL)\nsignal.signal(2, signal.default_int_handler)\n"
    with start(heard + SLOW, *arguments) as process:
        assert process.stderr is not None
        assert "read" in process.stderr.readline()
        process.send_signal(sent)
        said = [json.loads(line) for line in process.communicate(timeout=60)[1].splitlines()]
    assert process.returncode == status
    assert said[-1]["event"] == "failed"
    assert said[-1]["exit_status"] == 128 + sent
    assert sent.name in said[-1]["message"]
    assert f'recsys_exit_status{{command="run"}} {128 + sent}' in metrics.read_text()
    assert not out.exists()


def test_a_signal_that_is_ignored_stays_so(world: Path, tmp_path: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + (
        "import recsys.pipeline as p\nold = p.check\n"
        "p.check = lambda *a: (os.kill(os.getpid(), signal.SIGHUP), old(*a))[1]\n"
    )
    with start(code, "check", "-c", world, "-q") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_whoever_stops_reading_is_no_failure(world: Path) -> None:
    end, start_of = os.pipe()
    os.close(end)
    with start("", "check", "-c", world, "-q", stdout=start_of) as process:
        os.close(start_of)
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_73_and_under_stderr_changes_no_status(
    world: Path, tmp_path: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        with start("", "check", "-c", world, "-q", stdout=full) as process:
            said = process.communicate(timeout=60)[1]
        assert process.returncode == 73
        assert said.startswith("recsys: stdout cannot be written: No space left on device")
        assert said.count("\n") == 1
        with start("", "check", "-c", tmp_path / "none.toml", "-q", stderr=full) as process:
            process.communicate(timeout=60)
        assert process.returncode == 66


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=str)
def test_closed_streams_stop_nothing_and_no_file_takes_their_number(
    world: Path, closed: tuple[int, ...]
) -> None:
    # Python gives streams that are closed when it starts as None, and numbers to what is opened next.
    code = "import recsys_cli.app as cli\nold = cli.app\n" + (
        "def looked(**given):\n"
        "    names = [os.readlink(f'/proc/self/fd/{n}') for n in " + repr(closed) + "]\n"
        "    assert set(names) == {os.devnull}, names\n"
        "    return old(**given)\n"
        "cli.app = looked\n"
    )

    def close() -> None:
        for number in closed:
            os.close(number)

    with start(code, "check", "-c", world, preexec_fn=close) as process:
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("quiet", [False, True])
def test_what_libraries_say_is_told_in_the_format_of_the_log(world: Path, quiet: bool) -> None:
    code = "import logging, warnings, recsys.pipeline as p\nold = p.check\n" + (
        "def looked(*a):\n"
        "    logging.getLogger('matplotlib').warning('no cache\\nfor %s', 'fonts')\n"
        "    warnings.warn('old\\nfashioned')\n"
        "    return old(*a)\n"
        "p.check = looked\n"
    )
    with start(code, "check", "-c", world, "--log-format", "json", *(["-q"] if quiet else [])) as process:
        said = [json.loads(line) for line in process.communicate(timeout=60)[1].splitlines()]
    assert process.returncode == 0
    told = [one["message"] for one in said if one["level"] == "warning"]
    assert len(told) == (0 if quiet else 2)
    assert quiet or ("no cache" in told[0] and "old" in told[1])


#: One process that asks for each, and prints how it ended.
EACH = """
for words in sys.argv[1].splitlines():
    try:
        main([*words.split("\\t"), "-q"])
    except SystemExit as stop:
        print(stop.code)
sys.exit()
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_what_may_not_be_read_is_one_line_and_no_usage_error(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0)
    tmp_path.chmod(0o755)
    # As root everything may be read: ask as nobody, of what was imported before.
    code = "import recsys, recsys.pipeline, recsys.events, polars\n" + (
        "if os.geteuid() == 0: os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
    )
    asked = (("check", "--events"), ("models", "list", "-o"), ("verify",))
    words = "\n".join("\t".join([*ask, str(locked)]) for ask in asked)
    with start(code + EACH, words, cwd=tmp_path) as process:
        out, said = process.communicate(timeout=60)
    locked.chmod(0o700)
    assert out == "66\n66\n66\n", said
    assert said.count("\n") == 3


def test_a_folder_where_nothing_was_published_has_no_runs_to_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^66$"):
        main(["runs", "list", "-o", str(tmp_path / "misspelt")])
    assert capsys.readouterr().err.endswith("has no runs: run `recsys run` first\n")


def test_more_threads_than_any_machine_has_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["doctor", "-j", "99999"])
    assert "--threads" in capsys.readouterr().err
