"""What a monitor sees: one JSON object a line, and a Prometheus textfile that outlives a failure."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attacks
import polars as pl
import pytest
from commands import Call, Said, caller
from hypothesis import given
from hypothesis import strategies as st

import recsys
from recsys import store
from recsys.pipeline._textfile import Sample
from recsys.simulation import World, write_simulation
from recsys_cli.days import parse_as_of, parse_days

#: (name, labels) -> value.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_exposition(text: str) -> Samples:
    """Read the text exposition format, character by character, as its page on prometheus.io describes it."""
    assert text.endswith("\n"), "the last line must end with a line feed"
    found: Samples = {}
    types: dict[str, str] = {}
    closed: set[str] = set()
    last = ""
    for line in text.split("\n")[:-1]:
        if line.startswith("#"):
            _, word, name, said = line.split(" ", 3)
            assert word in ("HELP", "TYPE")
            if word == "TYPE":
                assert name not in types, f"{name} has two types"
                assert said in ("counter", "gauge", "histogram", "summary", "untyped")
                types[name] = said
            continue
        name, labels, value = parse_sample(line)
        assert name in types, f"the type of {name} comes before it"
        if name != last:
            assert name not in closed, f"the lines of {name} must stand together"
            closed.add(last)
            last = name
        key = (name, frozenset(labels.items()))
        assert key not in found, f"{key} comes twice"
        found[key] = float(value)
    return found


def parse_sample(line: str) -> tuple[str, dict[str, str], str]:
    head = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line)
    assert head is not None, line
    at, labels = head.end(), dict[str, str]()
    if line[at] == "{":
        at += 1
        while line[at] != "}":
            label = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*").match(line, at)
            assert label is not None, line
            at = label.end()
            assert line[at : at + 2] == '="', line
            at, value = at + 2, ""
            while line[at] != '"':
                if line[at] == "\\":
                    value += {"\\": "\\", '"': '"', "n": "\n"}[line[at + 1]]
                    at += 2
                else:
                    value += line[at]
                    at += 1
            assert label[0] not in labels, line
            labels[label[0]] = value
            at += 1
            assert line[at] in ",}", line
            at += line[at] == ","
        at += 1
    assert line[at] == " ", line
    return head[0], labels, line[at + 1 :]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    return caller(capsys, monkeypatch, attacks.SMALLEST)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "log"
    write_simulation(World.preset("small", **attacks.WORLD), folder)
    return folder


def figures(path: Path) -> dict[str, float]:
    """Read a textfile: name, or name:stage or name:kind -> value; every sample names its command."""
    found = {}
    for (name, labels), value in parse_exposition(path.read_text()).items():
        about = dict(labels)
        assert "command" in about
        more = about.get("kind") or about.get("stage")
        found[name.removeprefix("recsys_") + (f":{more}" if more else "")] = value
    return found


def lines_of(said: Said) -> list[dict[str, object]]:
    return [json.loads(line) for line in said.err.splitlines()]


def test_the_textfile_says_what_was_published_and_a_failure_keeps_it(
    call: Call, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "run.prom", tmp_path / 'a "quoted" \\ place'
    night = ("run", "-c", log, "-o", out, "--as-of", attacks.DAY, "-q", "--metrics-file", path)
    before = time.time()
    assert call(*night).status == 0
    found, manifest = figures(path), store.read_manifest(out / "runs/000001")
    assert (
        before
        <= found["last_success_timestamp_seconds"]
        == found["last_run_timestamp_seconds"]
        <= time.time()
    )
    assert found["exit_status"] == 0
    for kind in ("read", "refused", "accepted", "duplicates", "predicted", "scored"):
        assert found[f"rows:{kind}"] == manifest["rows"][kind]
    assert found["refused_ratio"] == manifest["rows"]["refused"] / manifest["rows"]["read"]
    for name in ("normalized_entropy", "bias"):
        assert found[name] == manifest["metrics"][name]["value"]
    for one in manifest["stages"]:
        assert found[f"stage_seconds:{one['stage']}"] == one["seconds"]
    assert "stage_seconds:publish" in found
    assert sum(found[name] for name in found if "stage_seconds" in name) <= found["duration_seconds"] + 0.1
    (about,) = [dict(key[1]) for key in parse_exposition(path.read_text()) if key[0] == "recsys_run_info"]
    assert (about["output"], about["run_id"]) == (str(out), "000001")
    assert about["model_version"] == manifest["model_version"]

    attempt = {"exit_status", "last_run_timestamp_seconds", "duration_seconds"}
    for status, name, value in (
        (79, "GATES__MAX_NORMALIZED_ENTROPY", "0.1"),
        (66, "EVENTS__PATH", "nowhere.csv"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"RECSYS_{name}", value)
            assert call(*night).status == status
        failed = figures(path)
        assert failed["exit_status"] == status
        assert failed["last_run_timestamp_seconds"] > failed["last_success_timestamp_seconds"]
        assert {key: one for key, one in failed.items() if key not in attempt} == {
            key: one for key, one in found.items() if key not in attempt
        }

    assert call(*night, "--if-missing").status == 0
    again = figures(path)
    assert again["last_success_timestamp_seconds"] > found["last_success_timestamp_seconds"]
    assert again["rows:read"] == found["rows:read"]
    assert [one.name for one in tmp_path.iterdir() if one.name.endswith(".tmp")] == []


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "audit"])
def test_every_command_that_publishes_writes_one_and_says_how_it_failed(
    call: Call, tmp_path: Path, command: str
) -> None:
    path = tmp_path / "x.prom"
    said = call(command, "--events", "nowhere.parquet", "-o", tmp_path / "out", "--metrics-file", path, "-q")
    assert said.status == 66
    found = figures(path)
    assert set(found) == {"exit_status", "last_run_timestamp_seconds", "duration_seconds"}
    assert found["exit_status"] == 66
    assert f'command="{command}"' in path.read_text()


def test_train_and_predict_say_what_they_wrote(call: Call, log: Path, tmp_path: Path) -> None:
    where = ("-c", log, "-o", tmp_path / "out", "-q", "--metrics-file", tmp_path / "x.prom")
    assert call("train", *where).status == 0
    assert figures(tmp_path / "x.prom")["rows:accepted"] > 0
    assert call("predict", *where).status == 0
    found = figures(tmp_path / "x.prom")
    assert found["rows:predicted"] == len(recsys.read_predictions(tmp_path / "out"))
    assert "normalized_entropy" not in found


def test_wrong_settings_and_usage_are_told_too(call: Call, tmp_path: Path) -> None:
    (tmp_path / "recsys.toml").write_text("[model]\nfactor = 3\n")
    path = tmp_path / "x.prom"
    assert call("run", "-c", tmp_path, "--metrics-file", path).status == 78
    assert figures(path)["exit_status"] == 78
    assert call("run", "--as-of", "someday", "--metrics-file", path).status == 2
    assert figures(path)["exit_status"] == 2


@pytest.mark.parametrize("place", ["nowhere/x.prom", "."])
def test_a_metrics_file_that_cannot_be_is_refused_before_the_work(
    call: Call, log: Path, tmp_path: Path, place: str
) -> None:
    said = call("run", "-c", log, "-o", tmp_path / "out", "-q", "--metrics-file", tmp_path / place)
    assert said.status == 73
    assert "name a file in a folder that is there" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00garbage{}\n",
        b'recsys_bias{command="run"} 1\nrecsys_bias{command="run"} 1\nrecsys_bias{comm',
        b'recsys_mine{a="b"} 1\nother 3\nrecsys_bias{a="\n"} 3\n# TYPE recsys_bias counter\n',
        b"recsys_bias " + b"9" * 3_000_000,
    ],
)
def test_what_else_stands_in_the_file_does_not_come_through(
    call: Call, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x.prom"
    path.write_bytes(content)
    assert call("train", "--events", "nowhere.csv", "--metrics-file", path, "-q").status == 66
    found = figures(path)
    assert set(found) - {"exit_status", "last_run_timestamp_seconds", "duration_seconds"} <= {"bias"}
    assert path.stat().st_size < 2000


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(), min_size=1, max_size=4),
    st.floats(allow_nan=False) | st.integers(-(2**53), 2**53),
)
def test_a_sample_reads_back_as_it_was(labels: dict[str, str], value: float) -> None:
    name, read, number = parse_sample(Sample("recsys_x", labels, value).line())
    assert "\n" not in Sample("recsys_x", labels, value).line()
    assert (name, float(number)) == ("recsys_x", value)
    said = {key: one.encode("utf-8", "backslashreplace").decode() for key, one in labels.items()}
    assert read == said


def test_each_line_of_a_json_log_is_an_object_with_its_run_and_each_stage_comes_once(
    call: Call, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = ("run", "-c", log, "-o", tmp_path / "out", "--log-format", "json", "--as-of", attacks.DAY)
    said = call(*night)
    assert said.status == 0
    lines = lines_of(said)
    assert {line["run_id"] for line in lines} == {"000001"}
    ended = [line for line in lines if "stage" in line]
    assert [line["stage"] for line in ended] == ["read", "evaluate", "train", "predict", "publish"]
    assert all(
        line["event"] == "stage_finished" and float(str(line["seconds"])) >= 0
        for line in lines
        if "stage" in line
    )
    (gate,) = [line for line in lines if line.get("event") == "gate"]
    assert (gate["gate"], gate["passed"]) == ("max_normalized_entropy", True)
    monkeypatch.setenv("RECSYS_GATES__MAX_NORMALIZED_ENTROPY", "0.1")
    for quiet in ([], ["-q"]):
        *_, failed = lines_of(call(*night, "--seed", 1, *quiet))
        assert (failed["event"], failed["exit_status"], failed["run_id"]) == ("failed", 79, "000002")
        assert failed["level"] == "error"
    (line,) = lines_of(call("check", "--events", "no\nwhere.csv", "--log-format", "json", "-q"))
    assert (line["exit_status"], line["run_id"]) == (66, None)
    assert call("check", "--events", "nowhere.csv", "-q").err.startswith("recsys: ")


def test_the_summary_at_the_end_says_what_was_published_and_how_good_it_is(
    call: Call, log: Path, tmp_path: Path
) -> None:
    said = call("run", "-c", log, "-o", tmp_path / "out", "-q", "--as-of", attacks.DAY)
    last = said.out.splitlines()[-1]
    version = store.describe_model(tmp_path / "out")["model_version"]
    rows = len(recsys.read_predictions(tmp_path / "out"))
    assert last.startswith("published run 000001 in ")
    assert last.endswith(f"model {version}, {rows:,} predictions")
    assert "normalized_entropy" in said.out
    assert said.out.count("\n") < 15


def test_yesterday_is_the_last_whole_day_of_utc(call: Call, tmp_path: Path) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    assert parse_as_of("yesterday") == midnight
    first = (midnight - timedelta(days=3)).date().isoformat()
    assert parse_days(f"{first}..yesterday") == [midnight - timedelta(days=back) for back in (2, 1, 0)]
    rows = pl.DataFrame(
        {
            "user_id": [1, 2, 3],
            "item_id": [1, 2, 3],
            "timestamp": [midnight - timedelta(hours=1), midnight - timedelta(hours=2), midnight],
            "liked": [True, False, False],
        }
    )
    rows.write_parquet(tmp_path / "log.parquet")
    said = call("check", "--events", tmp_path / "log.parquet", "--as-of", "yesterday", "--json")
    assert json.loads(said.out)["rows"]["accepted"] == 2
