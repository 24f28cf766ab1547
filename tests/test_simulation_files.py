"""A simulation as a folder, from the command line: whole or not at all, and the same bytes every time."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import polars as pl
import pytest
from commands import leave_pages_empty
from polars.testing import assert_frame_equal

import recsys
from recsys.config import load_settings
from recsys.errors import ConfigError, InputError, OutputError, UsageError
from recsys.simulation import PRESETS, World, read_truth, simulate, write_simulation
from recsys.simulation._parquet import growing_parquets
from recsys_cli.app import main

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "data" / "sample"
TINY = World.preset("bots", exposures=2_000, users=80, items=40, epsilon=0.1)
FILES = ["README.md", "events.parquet", "recsys.toml"]
TRUTH = ["exposures.parquet", "items.parquet", "users.parquet", "world.json"]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


def test_a_folder_holds_what_memory_holds(tmp_path):
    made, told = simulate(TINY), write_simulation(TINY, tmp_path)
    assert_frame_equal(pl.read_parquet(tmp_path / "events.parquet"), made.events)
    assert_frame_equal(pl.read_parquet(tmp_path / "truth/exposures.parquet"), made.truth_exposures)
    for truth in (told, read_truth(tmp_path)):
        assert truth.world == TINY
        assert truth.like_intercept == made.truth.like_intercept
        assert_frame_equal(truth.users, made.truth.users)
        assert_frame_equal(truth.items, made.truth.items)
        assert_frame_equal(truth.probabilities(made.events), made.truth.probabilities(made.events))


def test_same_world_same_bytes_on_one_thread_or_many(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Long enough for several slices to a tick and several row groups.
    world = replace(TINY, exposures=600_000, users=20_000, items=3_000, days=4)
    write_simulation(world, "log")
    many = contents(tmp_path / "log")
    code = f"from recsys.simulation import *; write_simulation({world!r}, 'log', overwrite=True)"
    environ = {**os.environ, "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    for path in (tmp_path / "log").rglob("*.*"):
        path.write_bytes(b"")
    subprocess.run([sys.executable, "-c", code], env=environ, check=True)
    assert sorted(many) == sorted([*FILES, *(f"truth/{name}" for name in TRUTH)])
    assert contents(tmp_path / "log") == many


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        write_simulation(TINY, tmp_path)
    assert list(contents(tmp_path)) == ["mine.txt"]
    write_simulation(TINY, tmp_path, overwrite=True)
    assert len(contents(tmp_path)) == 1 + len(FILES) + len(TRUTH)
    with pytest.raises(OutputError, match=r"mine.txt' is a file: name a folder"):
        write_simulation(TINY, tmp_path / "mine.txt")


@pytest.mark.parametrize("name", ["README.md", "recsys.toml", "events.parquet"])
def test_what_no_simulation_wrote_is_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name}' is not from a simulation: name another folder"):
        write_simulation(TINY, tmp_path, overwrite=True)
    assert contents(tmp_path) == {name: b"mine"}


def test_a_world_that_cannot_be_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="the busiest user would watch"):
        write_simulation(World(exposures=5_000, users=1, items=9, days=1), tmp_path / "log")
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("cut", ["_files.page_text", "_draw.extend_history"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_was_cut_short_is_not_ready_to_run(cut, overwrite, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    if overwrite:
        write_simulation(replace(TINY, seed=1), tmp_path)
    monkeypatch.setattr(f"recsys.simulation.{cut}", stop)
    with pytest.raises(KeyboardInterrupt):
        write_simulation(TINY, tmp_path, overwrite)
    with pytest.raises(ConfigError, match="'unfinished_simulation' is not a setting"):
        load_settings(tmp_path)
    with pytest.raises(InputError, match="does not hold the truth"):
        read_truth(tmp_path)


def test_a_stream_that_cannot_be_written_says_why(tmp_path):
    def fill(streams):
        for stream in streams * 5:
            stream.append(pl.DataFrame({"x": [1, 2, 3]}))

    schema = {"x": pl.Int64()}
    files = {tmp_path / "gone/x.parquet": schema, tmp_path / "y.parquet": schema}
    with pytest.raises(OSError, match="No such file"), growing_parquets(files) as streams:
        fill(streams)


def test_a_world_that_ends_early_ends_its_streams(tmp_path):
    def end(streams):
        streams[0].append(pl.DataFrame({"x": [1, 2, 3]}))
        raise RuntimeError("the world ended")

    files = {tmp_path / "x.parquet": {"x": pl.Int64()}, tmp_path / "y.parquet": {"x": pl.Int64()}}
    with pytest.raises(RuntimeError, match="the world ended"), growing_parquets(files) as streams:
        end(streams)


def test_truth_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not hold the truth of a simulated log"):
        read_truth(tmp_path)
    write_simulation(TINY, tmp_path, overwrite=True)
    (tmp_path / "truth/world.json").write_text("{}")
    with pytest.raises(InputError, match="does not hold the truth of a simulated log"):
        read_truth(tmp_path)


@pytest.mark.parametrize(("days", "window_hours"), [(14, 72), (30, 154), (7, 36), (1, 5)])
def test_the_settings_read_the_log(days, window_hours, tmp_path):
    write_simulation(replace(TINY, days=days), tmp_path / "new" / "log")
    settings = load_settings(tmp_path / "new" / "log", environ={})
    columns = pl.read_parquet_schema(settings.events.path)
    roles = settings.events.columns.model_dump(
        exclude={"history_only", "is_random", "session", "event_type", "groups"}
    )
    grouped = settings.events.columns.groups.values()
    assert {*roles.values(), *grouped} | {*settings.events.signals, *settings.events.outcomes} <= set(columns)
    assert settings.windows.test.total_seconds() == settings.windows.calibrate.total_seconds()
    assert settings.windows.test.total_seconds() == window_hours * 3600


def test_the_page_says_which_command_made_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shift = World.preset("shift", exposures=2_000, days=3, nudge=-0.5, seed=5)
    for preset, world in {"bots": TINY, "shift": shift}.items():
        folder = f"a log of {preset}"
        write_simulation(world, folder)
        made = contents(Path(folder))
        command = next(line for line in made["README.md"].decode().splitlines() if line.startswith("    "))
        assert f" --preset {preset} " in command
        status, _, _ = run(capsys, *shlex.split(command)[1:])
        assert status == 0
        assert contents(Path(folder)) == made


def test_the_page_names_what_was_planted_and_nothing_else(tmp_path):
    write_simulation(World.preset("small", exposures=2_000), tmp_path / "plain")
    write_simulation(TINY, tmp_path / "bots")
    plain, bots = ((tmp_path / name / "README.md").read_text() for name in ("plain", "bots"))
    for heading in (
        "**Fandoms.**",
        "**Presses by order.**",
        "**Machine-made items.**",
        "**Random exposures.**",
    ):
        assert heading in bots
        assert heading not in plain
    assert "**Drift.**" not in bots


def test_the_command_prints_one_line(tmp_path, capsys):
    given = ["--exposures", "2000", "--preset", "null", "--beta-like", "0.5"]
    status, out, _ = run(capsys, "simulate", str(tmp_path / "log"), *given)
    assert status == 0
    assert "2,000 exposures of 10 items to 40 users over 14 days" in out
    assert out.count("\n") == 1
    likes = pl.read_parquet(tmp_path / "log/events.parquet")["liked"].sum()
    status, out, _ = run(capsys, "simulate", str(tmp_path / "again"), *given, "--json")
    assert json.loads(out)["likes"] == likes


def test_every_knob_is_an_option(tmp_path, capsys):
    other = {int: 3, float: 0.5, str: "sparse"}
    turned = {name: other[knob.kind] for name, knob in World.knobs().items()}
    turned |= {"exposures": 500, "users": 20, "items": 10, "seed": 2}
    options = [word for name, value in turned.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    status, _, _ = run(capsys, "simulate", str(tmp_path / "log"), *options)
    assert status == 0
    assert json.loads((tmp_path / "log/truth/world.json").read_text())["world"] == turned
    _, helped, _ = run(capsys, "simulate", "--help")
    assert all(f"--{name.replace('_', '-')} " in helped for name in asdict(TINY))
    named = helped[helped.index("--preset") : helped.index("--overwrite")]
    assert all(re.search(rf"\b{name}\b", named) for name in PRESETS)


def test_seed_and_threads_are_heard(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RECSYS_SEED", "11")
    status, _, _ = run(capsys, "simulate", str(tmp_path / "log"), "--exposures", "500", "-j", "1")
    assert status == 0
    assert read_truth(tmp_path / "log").world.seed == 11


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--epsilon", "1.5"], 2, "epsilon must be a number from 0 to 1, got 1.5"),
        (["--spliced-sessions", "-0.1"], 2, "spliced_sessions must be a number from 0 to 1, got -0.1"),
        (["--users", "0"], 2, "users must be a whole number from 1 to 2,147,483,647, got 0"),
        (["--preset", "smal"], 2, "there is no preset 'smal': did you mean 'small'?"),
        (["--exposures", "5000", "--users", "1", "--days", "1"], 2, "the busiest user would watch"),
    ],
)
def test_bad_knobs_are_refused_in_one_line_and_nothing_is_written(arguments, status, says, tmp_path, capsys):
    found, out, err = run(capsys, "simulate", str(tmp_path / "log"), *arguments)
    assert (found, out) == (status, "")
    assert err.startswith(f"recsys: {says}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_exits_73(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    status, _, err = run(capsys, "simulate", str(tmp_path), "--exposures", "500")
    assert status == 73
    assert err.count("\n") == 1
    assert "is not empty: name another folder, or pass --overwrite" in err
    assert list(contents(tmp_path)) == ["mine.txt"]


def test_the_pipeline_never_looks_at_the_truth(tmp_path, capsys, monkeypatch):
    for name, value in {"FACTORS": "8", "ITERATIONS": "3", "CUTS": "1"}.items():
        monkeypatch.setenv(f"RECSYS_MODEL__{name}", value)
    monkeypatch.setenv("RECSYS_EVALUATION__BOOTSTRAPS", "100")
    monkeypatch.setenv("RECSYS_EVALUATION__NULL_DRAWS", "100")
    leave_pages_empty(monkeypatch)
    write_simulation(replace(TINY, exposures=8_000, users=200, items=150), tmp_path / "log")
    published = []
    for out in ("with", "without"):
        assert run(capsys, "run", "-c", str(tmp_path / "log"), "-o", str(tmp_path / out), "-q")[0] == 0
        files = {path.name: path.read_bytes() for path in (tmp_path / out / "runs").rglob("*.parquet")}
        assert len(files) > 3
        published.append(files)
        shutil.rmtree(tmp_path / "log/truth", ignore_errors=True)
    assert published[0] == published[1]


def test_the_committed_sample_is_what_its_command_makes(tmp_path, monkeypatch):
    said = json.loads((SAMPLE / "truth/world.json").read_text())
    monkeypatch.chdir(tmp_path)
    told = write_simulation(World(**said["world"]), "data/sample")
    assert told.like_intercept == pytest.approx(said["like_intercept"], rel=1e-12)
    for name in ("README.md", "recsys.toml"):
        assert (SAMPLE / name).read_text() == Path("data/sample", name).read_text()
    # Compared as values: libraries may compress differently, and round the last bit of a float.
    for name in ("events", "truth/exposures", "truth/users", "truth/items"):
        assert_frame_equal(
            pl.read_parquet(SAMPLE / f"{name}.parquet"), pl.read_parquet(f"data/sample/{name}.parquet")
        )


def test_the_sample_is_small_and_has_likes_in_both_windows():
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 3_000_000
    days = pl.read_parquet(SAMPLE / "events.parquet").select(
        "liked", day=pl.col("timestamp").dt.ordinal_day() - 4
    )
    assert days.filter(pl.col("day").is_between(9, 11))["liked"].sum() > 300
    assert days.filter(pl.col("day").is_between(12, 14))["liked"].sum() > 300


def test_the_public_names_are_the_simulators():
    assert recsys.write_simulation is write_simulation
    assert recsys.read_truth is read_truth
