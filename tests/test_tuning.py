"""Laws of tuning: the test window is never seen, a study goes on where it ended, its settings run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from commands import leave_pages_empty
from numpy.typing import NDArray
from scipy.stats import norm

from recsys.config import (
    ModelSettings,
    OutputSettings,
    Settings,
    WindowsSettings,
    build_settings,
    load_settings,
    parse_duration,
)
from recsys.engines import LocalEngine
from recsys.errors import ConfigError, DataError, InputError, UsageError
from recsys.events import EventLog, read_events
from recsys.inference import paired_difference
from recsys.matrix import distinct_codes
from recsys.pipeline._toml import format_duration, settings_toml
from recsys.simulation import World, write_simulation
from recsys.split import exposures_in, log_before, split_by_time
from recsys.store import open_run, to_parquet
from recsys.tuning import Choice, Objective, Range, Tuning, default_space, rolling_folds
from recsys.tuning import tune as tune_on_threads
from recsys.tuning._space import place, searched
from recsys.tuning._study import Search
from recsys_cli.app import main

MODEL = ModelSettings(factors=3, iterations=1, min_signal_rows=20, cuts=1)
SETTINGS = Settings(model=MODEL)
#: Where a cut inside a window could see too much.
MORE_CUTS = MODEL.model_copy(update={"cuts": 2})
SPACE: dict[str, Any] = {
    "factors": Range(2, 4, whole=True),
    "alpha": Range(1, 100),
    "l2": Range(0.1, 1e6),
}
HEADS = {"l2": Range(0.1, 1e6)}


def tune(log: EventLog, settings: Settings = SETTINGS, **said: Any) -> Tuning:
    """Tune on one thread: on a busy machine, threads cost more than such small logs."""
    return tune_on_threads(log, settings, **{"threads": 1, **said})


def same(first: pl.DataFrame, second: pl.DataFrame) -> bool:
    return to_parquet(first) == to_parquet(second)


@pytest.fixture(scope="module")
def cut(log: EventLog) -> datetime:
    return split_by_time(SETTINGS.windows, log.as_of).calibrate.end


@pytest.fixture(scope="module")
def tuned(log: EventLog) -> pl.DataFrame:
    return tune(log, trials=8, space=SPACE).trials


# The space


def test_every_dimension_names_a_setting_and_finds_it_again() -> None:
    space = default_space()
    assert {"factors", "regularization", "alpha", "iterations", "half_life", "head"} <= set(space)
    assert set(space) <= set(ModelSettings.model_fields)
    for name, dimension in space.items():
        ends = dimension.options if isinstance(dimension, Choice) else (dimension.low, dimension.high)
        for end in ends:
            setting = ModelSettings.model_validate({name: dimension.setting(end)}).__getattribute__(name)
            assert dimension.number(setting) == end


def test_heads_are_what_settings_allow_but_never_auto() -> None:
    head = default_space()["head"]
    assert isinstance(head, Choice)
    assert "auto" not in head.options
    space = default_space()
    assert space["head"] == Choice(("logistic", "gbm"))
    assert "head" in searched(space, ModelSettings(head="auto"))
    assert "head" not in place(searched(space, ModelSettings(head="auto")), ModelSettings(head="auto"))
    assert place(space, ModelSettings(head="gbm"))["head"] == "gbm"


def test_a_dimension_that_names_no_setting_is_refused(log: EventLog) -> None:
    with pytest.raises(UsageError, match="did you mean 'factors'"):
        tune(log, space={"factor": Range(1, 2)})
    for wrong in ({"trials": 0}, {"space": {}}, {"timeout": 0.0}):
        with pytest.raises(UsageError, match="at least one trial"):
            tune(log, **wrong)


# What a trial may see


@pytest.mark.parametrize("settle", ["0s", "6h"])
def test_a_log_before_a_cut_is_what_would_have_been_read_then(
    draw_frame: Callable[..., pl.DataFrame],
    draw_events: Callable[..., pl.DataFrame],
    read_exposures: Callable[..., EventLog],
    read_event_log: Callable[..., EventLog],
    day: Callable[[float], datetime],
    settle: str,
) -> None:
    for draw, read in ((draw_frame, read_exposures), (draw_events, read_event_log)):
        frame, at = draw(seed=3), day(8.3)
        whole, then = log_before(read(frame, settle=settle), at), read(frame, settle=settle, as_of=at)
        names = then.exposures.columns
        assert whole.as_of == then.as_of
        assert set(whole.exposures.columns) == set(names)
        for ours, theirs in ((whole.exposures, then.exposures), (whole.unsettled, then.unsettled)):
            assert ours is not None
            assert theirs is not None
            key = ["timestamp", "user_id", "item_id", "liked"]
            assert ours.select(names).sort(key).equals(theirs.sort(key))


def change_likes(frame: pl.DataFrame, since: datetime) -> pl.DataFrame:
    late = pl.col("timestamp") >= since
    return frame.with_columns(
        pl.when(late).then(~pl.col("liked")).otherwise(pl.col("liked")).alias("liked"),
        pl.when(late).then(1 - pl.col("long_view")).otherwise(pl.col("long_view")).alias("long_view"),
    )


def futures(exposures: pl.DataFrame, cut: datetime) -> Iterator[pl.DataFrame]:
    late = exposures.filter(pl.col("timestamp") >= cut)
    new = late.with_columns(pl.col("user_id") + 1_000_000, pl.col("item_id") + 1_000_000)
    yield exposures.filter(pl.col("timestamp") < cut)
    yield change_likes(exposures, cut)
    yield pl.concat([exposures, new, new])


@pytest.mark.slow
def test_the_test_window_is_never_seen(log: EventLog, cut: datetime) -> None:
    settings = Settings(model=MORE_CUTS)
    known = tune(log, settings, trials=2, space=SPACE)
    for changed in futures(log.exposures, cut):
        found = tune(replace(log, exposures=changed), settings, trials=2, space=SPACE)
        assert same(found.trials, known.trials)
        assert (found.study, found.best) == (known.study, known.best)


@pytest.mark.slow
def test_a_fold_has_not_seen_the_rows_it_is_scored_on(log: EventLog, cut: datetime) -> None:
    known = log_before(log, cut)
    folds = rolling_folds(known, split_by_time(SETTINGS.windows, log.as_of), MODEL.folds)
    assert len(folds) == 3
    for fold in folds:
        start = fold.rows["timestamp"].min()
        assert isinstance(start, datetime)
        assert fold.head.end <= start
        changed = replace(known, exposures=change_likes(known.exposures, start))
        losses = [list(Objective(one, (fold,), 1).losses(MORE_CUTS)) for one in (known, changed)]
        np.testing.assert_array_equal(*losses)


@pytest.mark.parametrize(("gap", "settle"), [("0h", "0s"), ("5h", "0s"), ("5h", "8h")])
def test_the_pieces_make_up_the_calibrate_window(
    frame: pl.DataFrame, read_exposures: Callable[..., EventLog], gap: str, settle: str
) -> None:
    log = read_exposures(frame, settle=settle)
    windows = split_by_time(WindowsSettings(gap=parse_duration(gap)), log.as_of)
    known = log_before(log, windows.calibrate.end)
    folds = rolling_folds(known, windows, MODEL.folds)
    assert all(fold.cut + parse_duration(gap) <= fold.rows["timestamp"].min() for fold in folds)
    pieces = pl.concat([fold.rows for fold in folds])
    scored = exposures_in(known.exposures, windows.calibrate, log.settle)
    assert pieces.sort("timestamp").equals(scored.sort("timestamp"))


def test_without_timed_rows_before_the_window_its_first_piece_is_not_scored(log: EventLog) -> None:
    windows = split_by_time(SETTINGS.windows, log.as_of)
    before = pl.col("timestamp") < windows.calibrate.start
    untimed = log.exposures.with_columns(pl.col("history_only") | before)
    folds = rolling_folds(log_before(replace(log, exposures=untimed), windows.calibrate.end), windows, 5)
    third = (windows.calibrate.end - windows.calibrate.start) / 3
    assert [fold.head.end for fold in folds] == [windows.calibrate.start + n * third for n in (1, 2)]
    assert {fold.head.start for fold in folds} == {windows.calibrate.start}


def test_a_log_that_is_too_short_is_refused_with_the_window_that_lacks_likes(log: EventLog) -> None:
    late = pl.col("timestamp") >= log.as_of - timedelta(days=2)
    liked_late = replace(log, exposures=log.exposures.with_columns(pl.col("liked") & late))
    with pytest.raises(DataError, match=r"the calibrate window .* holds 0 likes"):
        tune(liked_late)
    few = log.exposures.filter(pl.col("timestamp") >= log.as_of - timedelta(days=6)).sort("timestamp")
    some = pl.concat([few.filter("liked").head(3), few.filter(~pl.col("liked"))])
    with pytest.raises(DataError, match=r"no third of the calibrate window .* 3 likes"):
        tune(replace(log, exposures=some))
    with pytest.raises(DataError, match="positives only"):
        tune(replace(log, positives_only=True))


# The search


def test_trial_0_is_the_base_wherever_it_lies(log: EventLog) -> None:
    base = Settings(model=MODEL.model_copy(update={"l2": 1e7, "factors": 9}))
    found = tune(log, base, trials=1, space=SPACE)
    assert found.trials.select("trial", "factors", "alpha", "l2").row(0) == (0, 9, 10.0, 1e7)
    assert found.best == found.base == base.model
    assert "No trial of 1 is better" in found.verdict


@pytest.mark.parametrize("l2", [10.0, 1e7])
def test_the_figures_of_the_base_are_those_of_its_losses(log: EventLog, cut: datetime, l2: float) -> None:
    base = MODEL.model_copy(update={"l2": l2})
    found = tune(log, Settings(model=base), trials=1, space=SPACE).trials
    folds = rolling_folds(log_before(log, cut), split_by_time(SETTINGS.windows, log.as_of), MODEL.folds)
    losses = list(Objective(log_before(log, cut), folds, 1).losses(base))
    liked = pl.concat([fold.rows for fold in folds])["liked"].to_numpy()
    rate = liked.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert found["normalized_entropy"][0] == pytest.approx(np.concatenate(losses).mean() / entropy)


@pytest.fixture(scope="module")
def tasteful() -> EventLog:
    """A log whose likes follow taste alone: only a head that may weigh the factors can tell."""
    rng = np.random.default_rng(0)
    taste, appeal = rng.normal(size=(80, 2)), rng.normal(size=(40, 2))
    users, items = rng.integers(80, size=8000), rng.integers(40, size=8000)
    fit = (taste[users] * appeal[items]).sum(axis=1)
    hours = pl.Series(np.sort(rng.random(8000)) * 12 * 24 * 3.6e9).cast(pl.Duration("us"))
    rows = {"user_id": users, "item_id": items, "liked": rng.random(8000) < 1 / (1 + np.exp(1.5 - 2 * fit))}
    return read_events(pl.DataFrame(rows).with_columns(timestamp=hours + datetime(2026, 1, 1, tzinfo=UTC)))


def test_a_setting_that_is_clearly_better_is_found(tasteful: EventLog) -> None:
    hopeless = MODEL.model_copy(update={"l2": 1e9, "factors": 4, "iterations": 5})
    found = tune(tasteful, Settings(model=hopeless), trials=6, space=HEADS)
    assert found.best.l2 < 1e5
    assert found.best == hopeless.model_copy(update={"l2": found.best.l2})
    assert found.gain.low > 0
    assert "is better than the settings it began with" in found.verdict
    entropies = found.trials["normalized_entropy"]
    assert found.gain.value == pytest.approx(entropies[0] - entropies[found.best_trial])


def test_a_gain_within_noise_is_said_to_be_noise(log: EventLog) -> None:
    base = MODEL.model_copy(update={"cuts": 3})
    found = tune(log, Settings(model=base), trials=3, space={"alpha": Range(9, 11)})
    assert found.best_trial > 0
    assert found.gain.low <= 0 <= found.gain.high
    assert "within noise" in found.verdict


@pytest.mark.slow
def test_the_interval_of_the_gain_allows_for_the_choice(log: EventLog, cut: datetime) -> None:
    found = tune(log, Settings(model=MODEL.model_copy(update={"l2": 1e9})), trials=6, space=HEADS)
    known = log_before(log, cut)
    folds = rolling_folds(known, split_by_time(SETTINGS.windows, log.as_of), MODEL.folds)
    base, best = (
        np.concatenate(list(Objective(known, folds, 1).losses(model))) for model in (found.base, found.best)
    )
    users = distinct_codes(pl.concat([fold.rows for fold in folds])["user_id"])
    one = paired_difference(base, best, users)
    ratio = (found.gain.high - found.gain.low) / found.gain.value / ((one.high - one.low) / one.value)
    assert ratio == pytest.approx(norm.isf(0.025 / 5) / norm.isf(0.025))


@pytest.mark.slow
def test_a_hopeless_trial_is_stopped_after_its_first_fold(tuned: pl.DataFrame) -> None:
    pruned = tuned.filter(state="pruned")
    assert len(pruned) > 0
    assert pruned["fold_3"].is_null().all()
    assert pruned["fold_2"].is_null().any()
    assert pruned["normalized_entropy"].is_null().all()
    for trial, first in pruned.filter(pl.col("fold_2").is_null()).select("trial", "fold_1").rows():
        before = tuned.filter(pl.col("trial") < trial, state="complete")
        assert len(before) >= 5
        assert first > before["fold_1"].median()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_on_any_number_of_threads(
    log: EventLog, tuned: pl.DataFrame
) -> None:
    assert same(tune(log, trials=2, space=SPACE, threads=2).trials, tuned.head(2))
    other = Settings(model=MODEL.model_copy(update={"seed": 1}))
    assert not tune(log, other, trials=2, space=SPACE).trials.equals(tuned.head(2))


def test_heads_share_their_factors(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[int] = []
    fit = LocalEngine.fit

    def counted(*arguments: Any, **named: Any) -> Any:
        fits.append(1)
        return fit(*arguments, **named)

    monkeypatch.setattr(LocalEngine, "fit", counted)
    tune(log, trials=1, space=HEADS)
    alone = len(fits)
    tune(log, trials=4, space=HEADS)
    assert len(fits) == 2 * alone


def test_optuna_prints_nothing_and_keeps_its_own_verbosity(
    log: EventLog, capfd: pytest.CaptureFixture[str]
) -> None:
    import optuna

    before = optuna.logging.get_verbosity()
    tune(log, trials=2, space=HEADS)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_no_trial_begins_after_the_time_is_up(log: EventLog) -> None:
    assert len(tune(log, trials=50, timeout=1e-9, space=HEADS).trials) == 1


# Going on


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the trials that were run, not read from a journal."""
    numbers: list[int] = []
    run = Search._try

    def counted(search: Search, study: Any, number: int) -> None:
        numbers.append(number)
        run(search, study, number)

    monkeypatch.setattr(Search, "_try", counted)
    return numbers


@pytest.mark.slow
def test_a_study_that_is_resumed_runs_the_rest_as_if_it_had_not_stopped(
    log: EventLog, tuned: pl.DataFrame, tried: list[int], tmp_path: Path
) -> None:
    tune(log, trials=2, space=SPACE, studies=tmp_path)
    again = tune(log, trials=4, space=SPACE, studies=tmp_path)
    assert tried == list(range(4))
    assert same(again.trials, tuned.head(4))
    known = tune(log, trials=4, space=SPACE, studies=tmp_path)
    assert len(tried) == 4
    assert repr((known.gain, known.best, known.verdict)) == repr((again.gain, again.best, again.verdict))
    other = Settings(model=MODEL.model_copy(update={"folds": 4}))
    assert tune(log, other, trials=1, space=SPACE, studies=tmp_path).study != again.study
    assert tried[4:] == [0]


@pytest.mark.slow
def test_a_study_that_is_killed_in_a_trial_runs_that_trial_again(
    log: EventLog, tuned: pl.DataFrame, tried: list[int], tmp_path: Path
) -> None:
    def killed(objective: Objective, model: ModelSettings) -> Iterator[NDArray[np.float64]]:
        for number, losses in enumerate(whole(objective, model)):
            if tried[-1] == 2 and number == 1:
                raise KeyboardInterrupt
            yield losses

    whole = Objective.losses
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "losses", killed)
        with pytest.raises(KeyboardInterrupt):
            tune(log, trials=8, space=SPACE, studies=tmp_path)
    assert same(tune(log, trials=8, space=SPACE, studies=tmp_path).trials, tuned)
    assert tried == [0, 1, 2, *range(2, 8)]


@pytest.mark.slow
def test_a_torn_journal_loses_the_torn_trial_only(log: EventLog, tried: list[int], tmp_path: Path) -> None:
    space = HEADS
    known = tune(log, trials=2, space=space, studies=tmp_path)
    journal = tmp_path / known.study / "journal.log"
    content = journal.read_bytes()
    lines = content.splitlines(keepends=True)
    torn = {
        "in the last line": (content[:-40], [1]),
        "but for its end": (content[:-1], [1]),
        "zeros": (content[: -len(lines[-1])] + b"\0" * 100, [1]),
        "after the last line": (content + b'{"op_co', []),
        "in the first line": (content[:7], [0, 1]),
    }
    for case, (left, again) in torn.items():
        tried.clear()
        journal.write_bytes(left)
        assert same(tune(log, trials=2, space=space, studies=tmp_path).trials, known.trials), case
        assert tried == again, case
    journal.write_text('{"an": "other file"}\n')
    with pytest.raises(InputError, match="is not a journal of trials"):
        tune(log, trials=2, space=space, studies=tmp_path)


# The settings it leaves


ODD = {
    "events": {
        "path": 'odd "name"\\ü.parquet',
        "layout": "event_log",
        "event_types": {"view": ["VIEW", "SHOW"], "long view": ["L"]},
        "columns": {"like": "rating >= 4", "item": "video_id"},
        "signals": ["long view", "a / b AS share"],
        "like_within": "1d12h5m",
    },
    "windows": {
        "calibrate_from": "2022-04-24T16:00:00Z",
        "test_from": "2022-04-27T16:00:00.5Z",
        "gap": "90s",
    },
    "model": {"alpha": 1e-5, "regularization": 3e20},
    "output": {"path": "results", "exclude": "none"},
}


@pytest.mark.parametrize("values", [{}, ODD], ids=["default", "odd"])
def test_settings_survive_toml(values: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    settings = build_settings(values)
    (tmp_path / "out" / "tuned.toml").write_text(settings_toml(settings, tmp_path / "out"))
    read = load_settings("out/tuned.toml", environ={})
    paths = {"events": {"path"}, "output": {"path"}}
    assert read.model_dump(exclude=paths) == settings.model_dump(exclude=paths)
    assert Path(read.output.path).resolve() == Path(settings.output.path).resolve()
    if settings.events.path:
        assert Path(str(read.events.path)).resolve() == Path(settings.events.path).resolve()


def test_addresses_stay_as_they_are(tmp_path: Path) -> None:
    settings = Settings(output=OutputSettings(path="/srv/out"))
    settings = build_settings({**settings.model_dump(), "events": {"path": "s3://bucket/*.parquet"}})
    text = settings_toml(settings, tmp_path)
    assert 'path = "s3://bucket/*.parquet"' in text
    assert 'path = "/srv/out"' in text


@pytest.mark.parametrize("text", ["0s", "3d", "1d12h", "1d2h3m4s", "59s"])
def test_lengths_of_time_survive_being_written(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


# The command


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "small"
    write_simulation(World.preset("small", exposures=8_000, users=200, items=100, seed=4), folder)
    return folder


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_EVALUATION__BOOTSTRAPS", "100")
    monkeypatch.setenv("RECSYS_EVALUATION__NULL_DRAWS", "100")
    monkeypatch.setenv("RECSYS_MODEL__CUTS", "1")
    leave_pages_empty(monkeypatch)
    for name in ("factors", "iterations"):
        monkeypatch.setenv(f"RECSYS_MODEL__{name.upper()}", "3")
    monkeypatch.setattr("recsys.tuning._tune.default_space", lambda: SPACE)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


Call = Callable[..., tuple[int, str, str]]


def test_tune_leaves_settings_that_run(call: Call, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = call("tune", "-c", world, "-o", "found", "--trials", 3, "-j", 1)
    assert status == 0, err
    assert "3 of 3 done" in err
    assert "settings it began with" in out
    text = Path("found/tuned.toml").read_text()
    trials = pl.read_parquet("found/tuning/trials.parquet")
    assert len(trials) == 3
    for name in ("RECSYS_MODEL__FACTORS", "RECSYS_MODEL__ITERATIONS"):
        monkeypatch.delenv(name)
    read, began = load_settings("found/tuned.toml"), load_settings(world)
    best = trials.filter(pl.col("normalized_entropy") == trials["normalized_entropy"].min()).row(
        0, named=True
    )
    assert {name: getattr(read.model, name) for name in SPACE} == {name: best[name] for name in SPACE}
    assert f"{best['normalized_entropy']:.4f}" in text or "No trial of 3" in text
    assert read.windows == began.windows
    assert Path(str(read.events.path)).resolve() == (world / "events.parquet").resolve()
    status, out, err = call("run", "-c", "found/tuned.toml", "-q", "-j", 1)
    assert status == 0, err
    assert Path("found/models/current").is_symlink()
    assert Path("found/tuned.toml").read_text() == text


def test_the_same_command_goes_on_and_writes_the_same_bytes(call: Call, world: Path) -> None:
    for out, trials, threads in (("one", 2, 1), ("two", 1, 2), ("two", 2, 1)):
        assert call("tune", "-c", world, "-o", out, "--trials", trials, "-j", threads, "-q")[0] == 0
    status, out, err = call("tune", "-c", world, "-o", "two", "--trials", 2, "-j", 1, "--json")
    assert status == 0
    assert "2 trials are there already" in err
    found = json.loads(out)
    assert [trial["trial"] for trial in found["trials"]] == [0, 1]
    assert {"verdict", "best", "best_trial", "config", "normalized_entropy_gain"} <= set(found)
    for name in ("tuned.toml", "tuning/trials.parquet"):
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes()


def test_two_tunes_do_not_collide(call: Call, world: Path) -> None:
    with open_run("out", keep=1):
        assert call("tune", "-c", world, "-o", "out", "-q")[0] == 75


WRONG = {
    "no trial": (2, ["--trials", "0", "--events", "EVENTS"], "trials"),
    "no log": (78, [], "events.path is not set"),
    "too short": (65, ["--events", "short.parquet"], "the calibrate window"),
    "output is a file": (73, ["--events", "EVENTS", "-o", "short.parquet"], "must be a folder"),
    "output in a file": (73, ["--events", "EVENTS", "-o", "short.parquet/out"], "cannot be written"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gives_one_line_and_writes_nothing(call: Call, world: Path, case: str) -> None:
    status, arguments, says = WRONG[case]
    events = pl.read_parquet(world / "events.parquet")
    events.tail(500).write_parquet("short.parquet")
    given = [str(world / "events.parquet") if word == "EVENTS" else word for word in arguments]
    found, out, err = call("tune", *given, *([] if status == 2 else ["-q"]))
    assert found == status, err
    assert says in err
    assert out == ""
    assert [path.name for path in Path().iterdir()] == ["short.parquet"]


def test_without_optuna_it_says_what_to_install(
    call: Call, world: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'recsys\[tune\]'"):
        tune(log)
    status, _, err = call("tune", "-c", world, "-q")
    assert (status, err.count("\n")) == (78, 1)
    assert list(Path().iterdir()) == []
