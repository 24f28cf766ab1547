"""Hostile logs, ids, settings and manifests: right rows, right exit code, one line, nothing run, nothing left."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import attacks
import hostile_logs as hostile
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys
from recsys import store
from recsys.config import Settings, build_settings, load_settings
from recsys.errors import ConfigError, InputError
from recsys.events import read_events
from recsys.simulation import World, write_simulation
from recsys_cli.logs import plain

pytestmark = pytest.mark.slow

FORGED = 'x\nrecsys: {"level": "info"}'
#: In one process, for what it costs to start one.
THREE_CHECKS = """
from recsys_cli.app import main
for name in ("cut.parquet", "doubled.csv", "quote.csv"):
    try:
        main(["check", "-q", "--events", name])
    except SystemExit as stop:
        print(stop.code, flush=True)
"""
NAMES = [*(text for text in hostile.TEXTS if len(text) < 100), FORGED, "\u2028", "a" * 900]


@pytest.mark.parametrize(
    "kind", [kind.__name__ for _, kind in hostile.KINDS if kind.__name__ != "huge_strings"]
)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_of_a_hostile_log_the_right_rows_come_through_or_one_line(kind: str, seed: int) -> None:
    name, wrong = hostile.attack(seed, [kind])
    assert not wrong, (name, wrong)


@pytest.mark.parametrize("seed", [3, 4, 8])
def test_a_string_of_ten_megabytes_is_an_id_or_a_refused_value(seed: int) -> None:
    name, wrong = hostile.attack(seed, ["huge_strings"])
    assert not wrong, (name, wrong)


def test_a_plain_reading_finds_rows_and_a_judge_who_is_awake(tmp_path: Path) -> None:
    """The attack sees a wrong row, a lost one, and a wrong exit status."""
    for seed in range(100):
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        case = hostile.draw_case(seed, tmp_path, ["csv_case"])
        case.as_of = None
        found = hostile.read_plainly(case)
        if found.status(case.options["max_refused"]) == 0 and len(found.accepted) > 3:
            break
    assert not hostile.judge(case, tmp_path)
    assert case.rows is not None
    spoils: list[Callable[[list[dict[str, Any]]], object]] = [
        lambda rows: rows[1].update(liked=None),
        lambda rows: rows.pop(),
        lambda rows: rows[0].update(user_id="z"),
    ]
    for spoil in spoils:
        rows = [dict(row) for row in case.rows]
        spoil(rows)
        shutil.rmtree(tmp_path / "refused")
        assert hostile.judge(hostile.Case(case.name, case.path, rows, case.options), tmp_path)


def test_a_real_process_answers_as_one_in_here_does(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    (tmp_path / "doubled.csv").write_text("user_id,item_id,timestamp,liked,liked\n1,2,2024-05-01,1,0\n")
    (tmp_path / "quote.csv").write_text('user_id,item_id,timestamp,liked\n1,2,2024-05-01,"1\n')
    done = subprocess.run(
        [sys.executable, "-c", THREE_CHECKS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "66\n66\n66\n"), done.stderr
    assert [line.split("'")[1] for line in done.stderr.splitlines()] == [
        "cut.parquet",
        "doubled.csv",
        "quote.csv",
    ]


def test_a_reader_that_panics_is_told_of_in_one_line_and_what_else_was_said_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp,liked\n1,2,2024-05-01,1\n3,4,2024-05-01,0\n")

    def panic(*_: object, **__: object) -> Any:
        os.write(2, b"thread panicked at line 1\nstack backtrace:\n")
        raise pl.exceptions.PanicException("assertion failed")

    with monkeypatch.context() as patch:
        patch.setattr("recsys.events._accept.parse_columns", panic)
        said = hostile.call(["check", "-q", "--events", str(path)])
    assert (said.status, said.native, said.err.count("\n")) == (66, "", 1)
    assert "is damaged, its reader gave up: assertion failed" in said.err

    honest = recsys.events._accept.parse_columns

    def warn(*given: Any) -> Any:
        os.write(2, b"a word of warning\n")
        return honest(*given)

    monkeypatch.setattr("recsys.events._accept.parse_columns", warn)
    assert hostile.call(["check", "-q", "--events", str(path)]).native == "a word of warning\n"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_named_twice_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"log.{kind}"
    if kind == "csv":
        path.write_text("user_id,user_id,item_id,timestamp,liked\n1,2,3,2024-05-01,1\n")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(
            pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["user_id", "user_id"]), path
        )
    with pytest.raises(InputError, match="user_id"):
        read_events(path)


def test_a_column_that_only_looks_doubled_is_a_column(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,timestamp,liked,x_duplicated_0\n1,2,2024-05-01,1,5\n3,4,2024-05-01,0,6\n"
    )
    assert read_events(path).counts.accepted == 2


# --- content ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated log whose users, items, creators, categories and groups are named to do harm."""
    folder = tmp_path_factory.mktemp("hostile") / "log"
    write_simulation(World.preset("small", **attacks.WORLD), folder)
    events = pl.read_parquet(folder / "events.parquet")

    def rename(column: str) -> pl.Expr:
        old = events[column].drop_nulls().unique().sort().cast(pl.String)
        new = [NAMES[at] if at < len(NAMES) else f"n{at}" for at in range(len(old))]
        return pl.col(column).cast(pl.String).replace_strict(old, pl.Series(new), default=None)

    columns = [name for name in ("user_id", "item_id", "creator_id", "category") if name in events.columns]
    group = pl.Series("group_<script>alert(1)</script>", [NAMES[at % 7] for at in range(len(events))])
    events.with_columns(*(rename(name).alias(name) for name in columns), group).write_parquet(
        folder / "events.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def published(
    hostile_log: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, hostile.Answer]]:
    patch = pytest.MonkeyPatch()
    for name, value in attacks.SMALLEST.items():
        patch.setenv(name, value)
    out = tmp_path_factory.mktemp("out") / "o <b>\n{0} %s"
    yield out, hostile.call(["run", "-c", str(hostile_log), "-o", str(out), "--log-format", "json"])
    patch.undo()


class Scripts(HTMLParser):
    """What a browser would run or fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "img", "base", "form"):
            self.found.append(tag)
        self.found += [
            name for name, value in attrs if name.startswith("on") or "javascript:" in (value or "")
        ]


def test_hostile_names_go_through_a_run_as_they_are_and_are_never_obeyed(
    published: tuple[Path, hostile.Answer], hostile_log: Path
) -> None:
    out, said = published
    assert said.status == 0, said.err
    for line in said.err.splitlines():
        assert json.loads(line)["run_id"] == "000001"
    events, served = pl.read_parquet(hostile_log / "events.parquet"), recsys.read_predictions(out)
    assert set(served["user_id"]) == set(events["user_id"])
    assert set(served["item_id"]) <= set(events["item_id"])
    assert {"<script>alert(1)</script>", "../../etc/passwd", "\x00", FORGED} <= set(served["user_id"])
    names = {path.name for path in out.rglob("*")}
    assert not any(text in name for name in names for text in ("script", "etc", "passwd", "DROP"))
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert not store.verify(out).damages
    page = Scripts()
    page.feed((out / "evaluation/evaluation.html").read_text())
    assert page.found == []
    assert "&lt;script&gt;" in (out / "evaluation/evaluation.html").read_text()
    json.loads((out / "evaluation/evaluation.json").read_text())


@pytest.mark.parametrize(
    "user", [FORGED, "\x1b[31mred", "\u202eevil", "{0.__class__}", "%s%n%x", "../../etc/passwd"]
)
def test_an_explanation_says_a_hostile_name_in_one_piece(
    published: tuple[Path, hostile.Answer], hostile_log: Path, user: str
) -> None:
    out, _ = published
    said = hostile.call(["explain", "-c", str(hostile_log), "-o", str(out), "-q", "--", user])
    assert said.status == 0, said.err
    assert all(line.isprintable() for line in said.out.split("\n"))
    assert said.out.startswith(f"user {plain(user)}, item ")
    told = hostile.call(["explain", "-c", str(hostile_log), "-o", str(out), "-q", "--json", "--", user])
    assert json.loads(told.out)["user_id"] == user


@pytest.mark.parametrize(
    "events", ["a\x1b[31m\nb.csv", "$(id).csv", "%s.csv", "\u202e.csv", "../" * 200 + "x.csv", "x" * 5000]
)
def test_a_hostile_path_is_told_in_one_printable_line(events: str) -> None:
    said = hostile.call(["check", "-q", "--events", events])
    assert said.status == 66
    assert said.err.endswith("\n")
    assert said.err[:-1].isprintable()
    assert len(said.err) < hostile.LONGEST_LINE


# --- models -------------------------------------------------------------------------------------------------------


class Harm:
    """Writes a file where it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harmed"),))


def flip_bit(out: Path) -> None:
    path = out / "runs/000001/model/factors.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def add_pickle(out: Path) -> None:
    (out / "runs/000001/model/head.pkl").write_bytes(pickle.dumps(Harm()))


def become_pickle(out: Path) -> None:
    (out / "runs/000001/model/head.json").write_bytes(pickle.dumps(Harm()))


def lead_outside(out: Path) -> None:
    away = out.parent / "away"
    shutil.copytree(out / "runs/000001/model", away)
    shutil.rmtree(out / "runs/000001/model")
    (out / "runs/000001/model").symlink_to(away)


def link_a_file(out: Path) -> None:
    path = out / "runs/000001/model/head.json"
    path.rename(out.parent / "head.json")
    path.symlink_to(out.parent / "head.json")


def swap(out: Path) -> None:
    model = out / "runs/000001/model"
    content = (model / "users.parquet").read_bytes()
    (model / "users.parquet").write_bytes((model / "items.parquet").read_bytes())
    (model / "items.parquet").write_bytes(content)


def nest_manifest(out: Path) -> None:
    (out / "runs/000001/model/manifest.json").write_bytes(b'{"a":' * 200_000)


def swell_manifest(out: Path) -> None:
    with (out / "runs/000001/manifest.json").open("r+b") as file:
        file.truncate(2**36)


def endless_manifest(out: Path) -> None:
    (out / "runs/000001/manifest.json").unlink()
    (out / "runs/000001/manifest.json").symlink_to("/dev/zero")


TOUCHED = [
    *(flip_bit, add_pickle, become_pickle, lead_outside, link_a_file, swap),
    *(nest_manifest, swell_manifest, endless_manifest),
]


@pytest.mark.parametrize("touch", TOUCHED)
def test_a_model_that_was_touched_serves_nothing_and_runs_nothing(
    published: tuple[Path, hostile.Answer],
    hostile_log: Path,
    tmp_path: Path,
    touch: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(published[0], tmp_path / "out", symlinks=True)
    touch(tmp_path / "out")
    before = [path.name for name in ("runs", "predictions") for path in (tmp_path / "out" / name).iterdir()]
    said = hostile.call(["predict", "-c", str(hostile_log), "-o", "out", "-q"])
    assert (said.status, said.out) == (66, ""), said
    assert said.err.count("\n") == 1
    after = [path.name for name in ("runs", "predictions") for path in (tmp_path / "out" / name).iterdir()]
    assert after == before
    assert not (tmp_path / "harmed").exists()
    assert hostile.call(["verify", "out"]).status == 66


# --- settings -----------------------------------------------------------------------------------------------------

TOMLS = {
    "large": b"# " + b"x" * 2**21,
    "deep array": b"a = " + b"[" * 100_000,
    "deep table": b"[" + b".".join([b"a"] * 50_000) + b"]\nb = 1\n",
    "deep key": b".".join([b"model"] * 5_000) + b" = 1\n",
    "deep inline": b"model = " + b"{a=" * 20_000,
    "long integer": b"[model]\nfactors = " + b"9" * 10_000 + b"\n",
    "long value": b"[model]\nhead = '" + b"x" * 100_000 + b"'\n",
    "long key": b"[model]\n" + b"x" * 100_000 + b" = 1\n",
    "no text": b"\xff\xfe\x00",
    "NUL": b"[events]\npath = 'a\x00b'\n",
    "escaped NUL": b'[events]\npath = "a\\u0000b"\n',
    "many keys": b"[model]\n" + b"".join(b"k%d = 1\n" % number for number in range(50_000)),
    "format": b"[model]\nhead = '{0.__class__} %s%n'\n",
    "control": b'[model]\nhead = "\\u001b[31m\\n\\u202e"\n',
}


@pytest.mark.parametrize("name", TOMLS)
def test_hostile_settings_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "recsys.toml").write_bytes(TOMLS[name])
    said = hostile.call(["check", "-c", str(tmp_path), "-q"])
    assert said.status in (66, 78), said.err[:500]
    assert said.err.count("\n") == 1
    assert said.err[:-1].isprintable()
    assert len(said.err) < hostile.LONGEST_LINE
    assert "Traceback" not in said.err


def test_a_configuration_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="smaller than 1 MiB"):
        load_settings("/dev/zero", environ={})


@pytest.mark.parametrize(
    "environ",
    [
        {"RECSYS_" + "A__" * 5000 + "B": "1"},
        {"RECSYS_MODEL__FACTORS": "[" * 50_000},
        {"RECSYS_MODEL__FACTORS": "9" * 10_000},
        {"RECSYS_MODEL__HEAD": '"' + "x" * 10_000},
    ],
)
def test_hostile_environments_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(None, environ=environ)
    assert len(str(refused.value)) < hostile.LONGEST_LINE


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    sorted({key for section in Settings.model_fields.values() for key in section.annotation.model_fields})  # type: ignore[union-attr]
)


SAID = st.dictionaries(
    st.sampled_from(sorted(Settings.model_fields)), st.dictionaries(KEYS, VALUES, max_size=3) | VALUES
)


@settings(max_examples=150, deadline=None)
@given(SAID)
def test_whatever_is_said_is_a_setting_or_refused_by_name(said: dict[str, Any]) -> None:
    refusal = ""
    try:
        assert isinstance(build_settings(said), Settings)
    except ConfigError as error:
        refusal = str(error)
    assert len(refusal) < hostile.LONGEST_LINE
    assert not refusal or refusal.startswith(("'", '"', *Settings.model_fields))
