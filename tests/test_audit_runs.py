"""Whole audits: what the command leaves, how it goes on after a kill, and the faults that must stop it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import leave_pages_empty
from jsonschema import Draft202012Validator

import recsys
from recsys.audit import _placebo, _questions, _rows, _trial
from recsys.audit._looks import Look
from recsys.audit._placebo import Placebos
from recsys.audit._questions import Answer, Question
from recsys.audit._trial import Answers
from recsys.config import AuditSettings, ModelSettings, Settings
from recsys.errors import GateError
from recsys.events import EventLog, read_events
from recsys.schema import ITEM, LIKED, TIME, USER
from recsys.simulation import World, simulate, write_simulation
from recsys.store import FileShelf
from recsys_cli.app import main

SCHEMA = json.loads((Path(__file__).parent / "golden" / "audit.schema.json").read_text(encoding="utf-8"))
LEAN = Settings(
    model=ModelSettings(factors=4, iterations=3, min_signal_rows=20, cuts=1),
    audit=AuditSettings(seeds=2, placebos=2, heads=("logistic",)),
)
WORLD = World.preset("large", exposures=16_000, users=400, items=100, seed=2)
ENVIRON = {
    "RECSYS_MODEL__FACTORS": "4",
    "RECSYS_MODEL__ITERATIONS": "3",
    "RECSYS_MODEL__CUTS": "1",
    "RECSYS_AUDIT__SEEDS": "2",
    "RECSYS_AUDIT__PLACEBOS": "2",
    "RECSYS_AUDIT__HEADS": '["logistic"]',
}


@pytest.fixture(scope="module")
def log() -> EventLog:
    return read_events(simulate(WORLD).events, signals=["long_view"], outcomes=["long_view", "follow"])


@pytest.fixture(scope="module")
def found(log: EventLog) -> recsys.Audit:
    return recsys.audit(log, LEAN, threads=1)


@pytest.fixture
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "large"
    write_simulation(WORLD, folder)
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(one) for one in arguments])
    return int(stop.value.code or 0)


def test_the_command_leaves_what_the_design_names(
    world: Path, lean: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("audit", "-c", world, "-o", tmp_path, "--json") == 0
    said = capsys.readouterr()
    printed = json.loads(said.out)["audit"]
    written = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert written == printed
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(written)] == []
    assert {path.name for path in (tmp_path / "audit").iterdir()} == {
        "audit.json",
        "audit.html",
        "losses.parquet",
    }
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert written["verdict"]["sentences"][0][:20] in page
    assert written["settings_sha256"] in page
    assert "arm 10 of 10" in said.err
    assert not list((tmp_path / "auditing").glob("*"))
    losses = pl.read_parquet(tmp_path / "audit" / "losses.parquet")
    z = losses["long_view"].mean()
    entropy = -(z * np.log(z) + (1 - z) * np.log(1 - z))
    fall = (losses["log_loss_habit_logistic"] - losses["log_loss_real_logistic"]).mean()
    assert written["like_lift"]["long_view"]["logistic"]["value"] == pytest.approx(fall / entropy)
    assert len(losses) == written["rows"]["scored"]


@pytest.mark.slow
def test_a_killed_audit_goes_on_from_its_finished_arms(
    world: Path,
    lean: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    leave_pages_empty(monkeypatch)
    assert run("audit", "-c", world, "-o", tmp_path / "whole", "-q") == 0
    looked: list[str] = []
    honest = _trial.Bench.examine

    def counted(self: _trial.Bench, kind: str, look: Look) -> Answers:
        looked.append(kind)
        if len(looked) == 5:
            raise KeyboardInterrupt
        return honest(self, kind, look)

    monkeypatch.setattr(_trial.Bench, "examine", counted)
    with pytest.raises(BaseException):  # noqa: B017, PT011 (typer turns the interrupt into its own)
        main(["audit", "-c", str(world), "-o", str(tmp_path / "cut"), "-q", "-j", "1"])
    kept = list((tmp_path / "cut" / "auditing").rglob("*.safetensors"))
    before = len(looked)  # the arm that was under way is finished first
    assert len(kept) == before - 1 < 10
    assert not (tmp_path / "cut" / "audit").exists()
    # What was tampered with is not taken.
    kept[0].write_bytes(kept[0].read_bytes()[:-1] + b"!")
    assert run("audit", "-c", world, "-o", tmp_path / "cut", "-q", "--resume", "-j", "1") == 0
    assert len(looked) - before == 10 - (len(kept) - 1)
    first, second = ((tmp_path / name / "audit" / "audit.json").read_bytes() for name in ("whole", "cut"))
    assert first == second


def test_a_shelf_gives_back_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    shelf = FileShelf(tmp_path / "arms")
    assert shelf.load("real-1") is None
    shelf.save("real-1", {"a/b": np.arange(4.0)})
    shelf.save("real-10", {"a/b": np.zeros(2)})
    kept = shelf.load("real-1")
    assert kept is not None
    assert kept["a/b"].tolist() == [0.0, 1.0, 2.0, 3.0]
    (path,) = (tmp_path / "arms").glob("real-1.*")
    path.write_bytes(b"x" + path.read_bytes()[1:])
    assert shelf.load("real-1") is None
    shelf.clear()
    assert shelf.load("real-10") is None


@pytest.mark.slow
def test_a_strong_press_adds_signal_and_taste_carries_it(log: EventLog) -> None:
    # Two draws have one degree of freedom between them: too few to be sure of anything.
    drawn = LEAN.audit.model_copy(update={"placebos": 4})
    found = recsys.audit(log, LEAN.model_copy(update={"audit": drawn}), threads=1)
    lift = found.lift("long_view", "logistic")
    assert found.verdict.adds_signal
    assert lift.pieces["taste"].value > 0.5 * lift.value.value > 0
    assert found.lift("liked", "logistic").pieces["taste"].bound(0.001) > 0
    assert all(one.passed for one in found.controls if one.stops)


@pytest.mark.slow
def test_relabelled_users_and_items_change_nothing_but_the_seed(log: EventLog, found: recsys.Audit) -> None:
    rng = np.random.default_rng(0)

    def relabel(name: str) -> pl.Expr:
        ids = log.exposures[name].unique().sort()
        return pl.col(name).replace_strict(ids, ids.gather(rng.permutation(len(ids))))

    other = recsys.audit(
        replace(log, exposures=log.exposures.with_columns(relabel(USER), relabel(ITEM))), LEAN
    )
    for outcome in ("long_view", "liked"):
        first, second = (one.lift(outcome, "logistic").value for one in (found, other))
        assert second.value == pytest.approx(first.value, abs=2 * first.standard_error)
    assert other.known.rung("R1").explained.value == pytest.approx(
        found.known.rung("R1").explained.value, abs=0.03
    )


Plant = Callable[[pytest.MonkeyPatch], None]


def leak_a_future_like(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a like that comes after the cut mark earlier exposures of the same pair."""
    honest = _rows.known_before

    def leaky(rows: pl.DataFrame, *cut: Any) -> pl.DataFrame:
        ever = rows.group_by(USER, ITEM).agg(pl.col(LIKED).any().alias("_ever"))
        known = honest(rows, *cut).join(ever, on=[USER, ITEM], how="left", maintain_order="left")
        return known.with_columns(pl.col("_ever").alias(LIKED)).drop("_ever")

    monkeypatch.setattr(_rows, "known_before", leaky)


def draw_placebos_over_the_whole_log(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = _placebo.draw_placebos

    def whole(rows: _rows.AuditRows, given: Any, kind: str, *more: Any) -> Placebos:
        log = rows.log.exposures.sort(TIME, USER, ITEM, maintain_order=True)
        late = np.arange(len(log)) >= len(rows.known)
        everything = replace(rows, known=log, late=late | np.append(rows.late, np.ones(late.sum(), np.bool_)))
        odds = replace(given, log_odds=np.append(given.log_odds, np.zeros(late.sum())))
        drawn = honest(everything, odds, kind, *more)
        return replace(drawn, liked=drawn.liked[:, : len(rows.known)])

    monkeypatch.setattr(_trial, "draw_placebos", whole)


def drop_a_feature_of_one_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Question.answer
    asked: Iterator[int] = iter(range(1_000_000))

    def fewer(self: Question, look: Look, use: Callable[[str], bool] = lambda name: True) -> Answer:
        drop = next(asked) % 7 == 3
        return honest(self, look, lambda name: use(name) and not (drop and name == "dot:liked"))

    monkeypatch.setattr(Question, "answer", fewer)


def teach_the_ladder_its_own_users(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_row(users: np.ndarray, folds: int, seed: int) -> np.ndarray:
        return np.arange(len(users)) % folds

    monkeypatch.setattr(_questions, "user_folds", by_row)


@pytest.mark.parametrize(
    ("plant", "control"),
    [
        (leak_a_future_like, "cut_invariance"),
        (draw_placebos_over_the_whole_log, "placebo_window"),
        (drop_a_feature_of_one_arm, "same_capacity"),
        (teach_the_ladder_its_own_users, "user_disjoint"),
    ],
)
@pytest.mark.slow
def test_a_planted_fault_stops_the_audit_with_its_reason(
    log: EventLog, plant: Plant, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(GateError, match=f"control '{control}' failed"):
        recsys.audit(log, LEAN, threads=1)


@pytest.mark.slow
def test_an_alarm_exits_79_and_publishes_nothing(
    world: Path,
    lean: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    teach_the_ladder_its_own_users(monkeypatch)
    assert run("audit", "-c", world, "-o", tmp_path) == 79
    assert "user_disjoint" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "audit").exists()
