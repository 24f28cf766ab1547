"""What `cli/deploy` holds: read as cron, systemd, Kubernetes and Docker read it, and run."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attacks
import polars as pl
import pytest
from commands import leave_pages_empty

from recsys import errors
from recsys.simulation import World, write_simulation
from recsys_cli.app import main

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "cli/deploy"
STATUS = {
    one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")
}
#: May pass by itself, or is a defect: try again.
PASSING = {1, 73, 75}


def cron_line() -> tuple[str, str]:
    lines = [line for line in (DEPLOY / "crontab").read_text().splitlines() if line and line[0] != "#"]
    (line,) = [line for line in lines if not re.match(r"\w+=", line)]
    *schedule, command = line.split(None, 5)
    return " ".join(schedule), command


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / name)
    return parser


def commands() -> dict[str, list[str]]:
    """Give the arguments after `recsys` that each of them starts."""
    _, command = cron_line()
    change, command = command.split(" && ")
    assert change == "cd /srv/recsys"
    command, to = command.split(" >")
    assert to == "/dev/null"
    starts = unit("recsys.service")["Service"]["ExecStart"].removeprefix("/usr/bin/env ")
    args = re.search(r"^ +args: \[(.*)\]$", (DEPLOY / "cronjob.yaml").read_text(), re.MULTILINE)
    assert args is not None
    pod = ["recsys", *(one.strip().strip('"') for one in args[1].split(","))]
    found = {"crontab": shlex.split(command), "service": shlex.split(starts), "cronjob": pod}
    assert {words[0] for words in found.values()} == {"recsys"}
    return {name: words[1:] for name, words in found.items()}


def test_each_command_line_publishes_yesterday_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in attacks.SMALLEST.items():
        monkeypatch.setenv(name, value)
    leave_pages_empty(monkeypatch)
    write_simulation(World.preset("small", **attacks.WORLD), tmp_path / "log")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    shift = yesterday - datetime.fromisoformat(attacks.DAY).date()
    events = pl.read_parquet("log/events.parquet").with_columns(pl.col("timestamp") + shift)
    events.write_parquet("log/events.parquet")
    # /srv/recsys is where they start.
    Path("recsys.toml").write_text(
        Path("log/recsys.toml").read_text().replace("events.parquet", "log/events.parquet")
    )
    outcomes = []
    for words in commands().values():
        asked = ["recsys.prom" if word.endswith(".prom") else word for word in words]
        with pytest.raises(SystemExit) as stop:
            main(asked)
        said = capsys.readouterr()
        assert not stop.value.code, said.err
        outcomes.append(said.out.splitlines()[-1].split(",")[0].split(" run ")[0])
    assert outcomes == ["published", *["published already"] * 2]
    assert [path.name for path in Path("out/predictions").iterdir()] == [f"as_of={yesterday}"]
    assert "recsys_exit_status" in Path("recsys.prom").read_text()


def test_each_command_line_asks_for_yesterday_where_it_is_missing() -> None:
    for words in commands().values():
        assert {"--as-of", "--if-missing"} <= set(words)
        assert words[words.index("--as-of") + 1] == "yesterday"


def test_cron_finds_the_command_and_starts_it_once_a_night() -> None:
    text = (DEPLOY / "crontab").read_text()
    assert re.search(r"^PATH=.*/usr/local/bin", text, re.MULTILINE), "cron's own PATH lacks /usr/local/bin"
    schedule, command = cron_line()
    assert re.fullmatch(r"\d{1,2} \d{1,2} \* \* \*", schedule)
    assert "%" not in command, "cron turns % into a newline"
    assert text.endswith("\n"), "cron passes over a last line without its end"


def test_what_will_not_pass_is_not_tried_again() -> None:
    prevented = {int(one) for one in unit("recsys.service")["Service"]["RestartPreventExitStatus"].split()}
    assert prevented == STATUS - PASSING
    values = re.search(r"values: \[([\d, ]+)\]", (DEPLOY / "cronjob.yaml").read_text())
    assert values is not None
    assert [int(one) for one in values[1].split(",")] == sorted(STATUS - PASSING)


def test_the_service_may_write_its_output_and_its_caches_and_nothing_else() -> None:
    service = unit("recsys.service")["Service"]
    assert (service["ProtectSystem"], service["ReadWritePaths"]) == ("strict", "/srv/recsys/out")
    assert service["ReadWritePaths"].startswith(service["WorkingDirectory"])
    cached = dict(one.split("=") for one in service["Environment"].split())
    assert cached == dict.fromkeys(["NUMBA_CACHE_DIR", "MPLCONFIGDIR"], f"%C/{service['CacheDirectory']}")
    assert unit("recsys.timer")["Timer"]["OnCalendar"].endswith("UTC")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    units = [Path(shutil.copy(DEPLOY / name, tmp_path)) for name in ("recsys.service", "recsys.timer")]
    verify = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    about_ours = [line for line in done.stderr.splitlines() if "recsys" in line]
    assert (done.returncode, about_ours) == (0, [])
    broken = (
        (tmp_path / "recsys.service").read_text().replace("ExecStart=/usr/bin/env", "ExecStart=/nowhere/env")
    )
    (tmp_path / "recsys.service").write_text(broken)
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60, check=False)
    assert "/nowhere/env" in done.stderr


def test_kubernetes_lets_one_run_at_a_time_and_a_late_one_start() -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((DEPLOY / "cronjob.yaml").read_text())
    assert (job["kind"], job["apiVersion"]) == ("CronJob", "batch/v1")
    spec = job["spec"]
    assert (spec["concurrencyPolicy"], spec["timeZone"]) == ("Forbid", "Etc/UTC")
    assert spec["startingDeadlineSeconds"] > 10, "below 10 the controller may never start it"
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"] == commands()["cronjob"]
    assert pod["restartPolicy"] == "Never", "podFailurePolicy asks for it"
    rule = spec["jobTemplate"]["spec"]["podFailurePolicy"]["rules"][0]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}
    # The root is read only: whatever the image writes to must be mounted.
    mounts = [one["mountPath"] for one in container["volumeMounts"]]
    written = re.findall(r"_CACHE_DIR=(\S+)|MPLCONFIGDIR=(\S+)", (DEPLOY / "Dockerfile").read_text())
    places = [place for pair in written for place in pair if place]
    assert len(places) == 2
    assert all(any(place.startswith(f"{mount}/") for mount in mounts) for place in places)


def test_the_image_holds_what_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]]
    about = project["project"]
    needed = {"pyproject.toml", about["readme"], *about["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert set(copied) == needed
    assert all((ROOT / name).exists() for name in copied)
    python = re.search(r"^FROM python:3\.(\d+)-slim$", text, re.MULTILINE)
    assert python is not None
    lowest, highest = (int(one) for one in re.findall(r"3\.(\d+)", about["requires-python"]))
    assert lowest <= int(python[1]) < highest
    assert "libgomp1" in text
    entry = re.search(r'^ENTRYPOINT \["(\w+)"\]$', text, re.MULTILINE)
    assert entry is not None
    assert entry[1] in about["scripts"]
