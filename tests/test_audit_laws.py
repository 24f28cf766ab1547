"""Laws of the audit's parts: rows, dwell, placebos, looks, lift, ladder, curves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from recsys.audit import PIECES, PLACEBOS
from recsys.audit._curves import count_first_likes, cross_from_above
from recsys.audit._dwell import Given, fit_conditional_logit, follow_dwell
from recsys.audit._ladder import climb_ladder
from recsys.audit._lift import CHAIN, measure_lift, score_losses
from recsys.audit._looks import gather_material
from recsys.audit._placebo import draw_placebos
from recsys.audit._plan import make_plan
from recsys.audit._questions import ask, prepare_climb
from recsys.audit._rows import AuditRows, gather_rows
from recsys.config import AuditSettings, ModelSettings, Settings, WindowsSettings
from recsys.engines import LocalEngine
from recsys.errors import ConfigError, DataError
from recsys.events import EventLog, read_events
from recsys.features import Snapshots, reads, reads_likes
from recsys.metrics import binary_entropy
from recsys.model import fit_model
from recsys.schema import ITEM, LIKED, USER
from recsys.simulation import World, simulate
from recsys.split import split_by_time

MODEL = ModelSettings(factors=4, iterations=3, min_signal_rows=20, cuts=1)
SETTINGS = Settings(model=MODEL, audit=AuditSettings(seeds=2, placebos=2, heads=("logistic",)))
ENGINE = LocalEngine(1)


@pytest.fixture(scope="module")
def log() -> EventLog:
    world = World.preset("small", exposures=20_000, users=400, items=120, like_rate=0.1, seed=3)
    return read_events(simulate(world).events, signals=["long_view"], outcomes=["long_view", "follow"])


@pytest.fixture(scope="module")
def rows(log: EventLog) -> AuditRows:
    return gather_rows(log, split_by_time(SETTINGS.windows, log.as_of))


@pytest.fixture(scope="module")
def given(rows: AuditRows) -> Given:
    return follow_dwell(rows, ("long_view",), 0)


def test_rows_are_cut_by_time_and_no_row_is_in_two_windows(log: EventLog, rows: AuditRows) -> None:
    windows = rows.windows
    assert rows.known["timestamp"].max() < windows.test.cut <= rows.score["timestamp"].min()
    assert rows.known[rows.early]["timestamp"].max() < windows.calibrate.cut
    assert len(rows.known) + len(rows.score) == len(log.exposures)
    assert np.array_equal(np.flatnonzero(~rows.late), rows.early)
    assert rows.liked_early(rows.liked).sum() == rows.known[rows.early][LIKED].sum()


def test_a_like_that_came_after_the_first_cut_belongs_to_what_was_known_late(
    draw_events: Callable[..., pl.DataFrame], read_event_log: Callable[..., EventLog]
) -> None:
    log = read_event_log(draw_events(4), like_within="1d")
    rows = gather_rows(log, split_by_time(WindowsSettings(), log.as_of))
    early = rows.known[rows.early]
    came_late = early[LIKED] & (early["liked_at"] >= rows.windows.calibrate.cut)
    assert came_late.sum() > 0
    assert rows.late[rows.early][came_late.to_numpy()].all()
    assert not rows.liked_early(rows.liked)[came_late.to_numpy()].any()
    assert rows.likes_left_out == 40


def test_a_like_that_came_late_stays_on_its_row(
    draw_events: Callable[..., pl.DataFrame], read_event_log: Callable[..., EventLog]
) -> None:
    """It is among the late rows because it was liked: placebos that left it would be newer than the likes."""
    log = read_event_log(draw_events(4), like_within="1d")
    rows = gather_rows(log, split_by_time(WindowsSettings(), log.as_of))
    came_late = np.flatnonzero(rows.late & (rows.known["timestamp"] < rows.windows.calibrate.cut).to_numpy())
    assert len(came_late) > 0
    nothing = Given("nothing", np.zeros(len(rows.known)))
    for kind in PLACEBOS:
        drawn = draw_placebos(rows, nothing, kind, 2, 0).liked
        assert drawn[:, came_late].all()
        assert (drawn[0] != rows.liked).any()


def test_the_conditional_logit_finds_how_presses_follow_dwell_whatever_the_habits() -> None:
    rng = np.random.default_rng(1)
    users = np.repeat(np.arange(500), 60)
    x = rng.normal(size=(len(users), 2)) + rng.normal(size=500)[users][:, None]
    habit = 3 * rng.normal(size=500)[users] - 2 * x[:, 0].reshape(500, 60).mean(axis=1)[users]
    liked = rng.random(len(users)) < expit(-3 + habit + 1.2 * x[:, 0] - 0.5 * x[:, 1])
    found = fit_conditional_logit(x, liked, users.astype(np.int32), 0)
    assert found == pytest.approx([1.2, -0.5], abs=0.08)


def test_dwell_is_followed_as_the_world_planted_it(rows: AuditRows, given: Given) -> None:
    assert given.name == "dwell"
    dwell = rows.known["dwell_seconds"].to_numpy()
    assert spearmanr(given.log_odds, dwell).statistic > 0.9


def test_without_dwell_flags_are_given_and_without_flags_nothing(rows: AuditRows) -> None:
    flags = follow_dwell(replace(rows, known=rows.known.drop("dwell_seconds")), ("long_view",), 0)
    nothing = follow_dwell(replace(rows, known=rows.known.drop("dwell_seconds")), (), 0)
    assert (flags.name, nothing.name) == ("flags, not dwell", "nothing")
    long = rows.known["long_view"].to_numpy() > 0
    assert flags.log_odds[long].mean() > flags.log_odds[~long].mean() + 0.2
    assert not nothing.log_odds.any()


@pytest.mark.parametrize("kind", PLACEBOS)
def test_a_placebo_keeps_what_its_name_says_on_each_side_of_the_cut(
    rows: AuditRows, given: Given, kind: str
) -> None:
    placebos = draw_placebos(rows, given, kind, 2, 0)
    counts = {"user": rows.users, "item": rows.items, "late": rows.late.astype(np.int32)}
    kept = {"global": ["late"], "dwell": ["late"], "habit": ["late", "user"], "habit_crowd": list(counts)}[
        kind
    ]
    for liked in placebos.liked:
        for side in (rows.late, ~rows.late):
            same = [
                name
                for name, codes in counts.items()
                if np.array_equal(
                    *(np.bincount(codes[one & side], minlength=500) for one in (liked, rows.liked))
                )
            ]
            assert same == sorted(kept, key=list(counts).index)
        assert (liked & rows.liked).sum() / rows.liked.sum() == pytest.approx(
            1 - placebos.check.moved, abs=0.03
        )
    first, second = placebos.liked
    assert (first & second).sum() / rows.liked.sum() == pytest.approx(placebos.check.overlap, abs=1e-12)
    assert placebos.check.overlap_halfway - placebos.check.overlap < 0.03


def test_placebos_follow_dwell_as_the_likes_do(rows: AuditRows, given: Given) -> None:
    real, uniform = given.log_odds[rows.liked].mean(), given.log_odds.mean()
    for kind in ("dwell", "habit", "habit_crowd"):
        drawn = draw_placebos(rows, given, kind, 2, 0).liked
        assert given.log_odds[drawn[0]].mean() == pytest.approx(real, abs=0.15 * (real - uniform))
    drawn = draw_placebos(rows, given, "global", 2, 0).liked
    assert given.log_odds[drawn[0]].mean() == pytest.approx(uniform, abs=0.15 * (real - uniform))


def test_the_real_arm_of_likes_is_the_products_own_model(log: EventLog, rows: AuditRows) -> None:
    """One code path: the features to the byte, and the forecasts, are those of `evaluate`."""
    material = gather_material(rows, rows.score, ("long_view", "dwell_seconds"), MODEL, ENGINE)
    look = material.look(rows.liked, ENGINE)
    model = fit_model(Snapshots(log, MODEL, 1), rows.windows.calibrate, rows.windows.test.cut)
    placed = model.snapshot.place(rows.score)
    assert look.names == model.snapshot.names
    assert look.score.tobytes() == model.snapshot.pair_features(placed).tobytes()
    plan = make_plan(rows, SETTINGS)
    question = ask(rows, plan, look, 1)["liked/logistic"]
    free = replace(question, settings=MODEL)
    own = [name for name in look.names if reads(name)]
    assert list(question.names) == own
    # Rows of the log come in another order, and sums of fractions depend on it.
    assert free.answer(look).forecast == pytest.approx(model.probabilities(placed), rel=1e-9)


def test_behaviour_is_the_same_under_any_likes_and_nothing_else_is(rows: AuditRows, given: Given) -> None:
    material = gather_material(rows, rows.score, ("long_view",), MODEL, ENGINE)
    placebo = draw_placebos(rows, given, "global", 2, 0).liked[0]
    real, other = material.look(rows.liked, ENGINE), material.look(placebo, ENGINE)
    for place, name in enumerate(real.names):
        same = all(
            np.array_equal(one[:, place], two[:, place])
            for one, two in ((real.learn, other.learn), (real.score, other.score))
        )
        assert same != reads_likes(name), name


def test_thinned_behaviour_forgets_rows_and_keeps_their_likes(rows: AuditRows) -> None:
    material = gather_material(rows, rows.score, ("long_view",), MODEL, ENGINE)
    everything = np.ones(len(rows.known), np.bool_)
    whole, same = (
        material.look(rows.liked, ENGINE),
        material.thin(everything, ENGINE).look(rows.liked, ENGINE),
    )
    assert whole.score.tobytes() == same.score.tobytes()
    half = material.thin(np.random.default_rng(0).random(len(rows.known)) < 0.5, ENGINE).look(
        rows.liked, ENGINE
    )
    for place, name in enumerate(whole.names):
        unchanged = np.array_equal(whole.score[:, place], half.score[:, place])
        of_likes = reads_likes(name) and not name.startswith("taste")
        # These worlds tell when an item was created.
        assert unchanged == (of_likes or name == "item_id:newness"), name


@pytest.fixture(scope="module")
def forecasts(rows: AuditRows) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    p = rng.beta(2, 3, size=len(rows.score))
    return {
        kind: np.stack([np.clip(p + rng.normal(0, 0.02 * k, len(p)), 0.01, 0.99) for k in (1, 2)])
        for kind in CHAIN
    }


def test_the_lift_is_the_fall_of_the_mean_loss_over_the_entropy(
    rows: AuditRows, forecasts: dict[str, np.ndarray]
) -> None:
    lift = measure_lift(score_losses(rows, "long_view", "logistic", forecasts), 1000)
    z = rows.score["long_view"].to_numpy()
    loss = {
        kind: np.mean([-np.log(np.where(z > 0, p, 1 - p)).mean() for p in found])
        for kind, found in forecasts.items()
    }
    entropy = binary_entropy(z.mean())
    assert lift.value.value == pytest.approx((loss["habit"] - loss["real"]) / entropy, abs=1e-12)
    assert lift.bits_per_like == pytest.approx((loss["habit"] - loss["real"]) / np.log(2) * len(z) / 1000)
    for piece, (first, second) in zip(PIECES, pairwise(CHAIN), strict=True):
        assert lift.pieces[piece].value == pytest.approx((loss[first] - loss[second]) / entropy, abs=1e-12)
    assert sum(one.value for one in lift.pieces.values()) == pytest.approx(
        (loss["behaviour"] - loss["real"]) / entropy
    )
    assert (lift.rows, lift.events) == (len(z), int(z.sum()))


def test_an_outcome_that_is_unknown_is_left_out(rows: AuditRows, forecasts: dict[str, np.ndarray]) -> None:
    hidden = pl.Series(np.arange(len(rows.score)) % 3 == 0)
    fewer = replace(
        rows, score=rows.score.with_columns(pl.when(~hidden).then("long_view").alias("long_view"))
    )
    scored = score_losses(fewer, "long_view", "logistic", forecasts)
    assert len(scored.labels) == len(rows.score) - hidden.sum()
    whole = score_losses(rows, "long_view", "logistic", forecasts)
    assert np.array_equal(scored.losses["real"], whole.losses["real"][:, ~hidden.to_numpy()])


def test_every_rung_reads_more_than_the_one_below_and_what_it_explains_telescopes(rows: AuditRows) -> None:
    look = gather_material(rows, rows.score, ("long_view",), MODEL, ENGINE).look(rows.liked, ENGINE)
    climb = prepare_climb(rows, make_plan(rows, SETTINGS), look)
    found = {f"ladder/{rung}": climb.forecast(look, rung)[None] for rung in ("R1", "R2", "R3", "R4", "R5")}
    found["ladder/R4°"] = found["ladder/R4"]
    known = climb_ladder(rows, found)
    shares = {rung.name: rung.explained for rung in known.ladder}
    for below, name in pairwise(("R0", "R1", "R2", "R3", "R4", "R5")):
        increment = known.rung(name).increment
        assert increment is not None
        assert increment.value == pytest.approx(shares[name].value - shares[below].value, abs=1e-12)
    assert shares["R2"].value > shares["R1"].value
    assert climb.users_in_both() == 0
    liked = rows.score[LIKED].to_numpy()
    assert known.bits_left["R4"] == pytest.approx(-np.log2(found["ladder/R4"][0][liked]).mean())
    assert known.bits_of_a_press == pytest.approx(-np.log2(liked.mean()))


def test_a_head_of_the_ladder_never_saw_the_labels_of_whom_it_forecasts(rows: AuditRows) -> None:
    """Turn the labels of one fold's users over: their own forecasts do not move, those of the others do."""
    look = gather_material(rows, rows.score, ("long_view",), MODEL, ENGINE).look(rows.liked, ENGINE)
    climb = prepare_climb(rows, make_plan(rows, SETTINGS), look)
    learn, score = climb.folds()
    turned = replace(climb, liked=np.where(learn == 2, ~climb.liked, climb.liked))
    first, second = climb.forecast(look, "R1"), turned.forecast(look, "R1")
    assert np.array_equal(first[score == 2], second[score == 2])
    assert (first != second)[score != 2].all()


def test_first_likes_are_numbered_within_user(rows: AuditRows) -> None:
    first = count_first_likes(rows)
    likes = np.bincount(rows.users, rows.liked)
    seen: dict[int, int] = {}
    for row in range(3000):
        user = int(rows.users[row])
        assert first.order[row] == seen.get(user, 0)
        seen[user] = seen.get(user, 0) + int(rows.liked[row])
    assert np.array_equal(first.chosen, likes >= first.most)
    assert first.most in (1, 3, 10, 30)


@pytest.mark.parametrize(
    ("beyond", "crossing"),
    [([3.0, 1.0, -1.0], 0.9), ([2.0, -1.0, -1.0], 0.7), ([-3.0, -2.0, -1.0], None), ([3.0, 2.0, 0.5], None)],
)
def test_the_exchange_crosses_where_the_curve_does(beyond: list[float], crossing: float | None) -> None:
    found = cross_from_above([0.5, 0.8, 1.0], np.array(beyond))
    assert found == (None if crossing is None else pytest.approx(crossing))


def test_what_cannot_be_audited_is_refused_with_the_way_out(log: EventLog, rows: AuditRows) -> None:
    with pytest.raises(ConfigError, match="must not be a like"):
        make_plan(rows, Settings(audit=AuditSettings(primary_outcome="liked")))
    with pytest.raises(ConfigError, match="did you mean 'long_view'"):
        make_plan(rows, Settings(audit=AuditSettings(primary_outcome="long_vew")))
    bare = replace(log, outcomes=(), signals=())
    with pytest.raises(DataError, match="no outcome but the like"):
        make_plan(replace(rows, log=bare), Settings())
    with pytest.raises(DataError, match="positives only"):
        gather_rows(replace(log, positives_only=True), rows.windows)
    windows = split_by_time(WindowsSettings(calibrate=timedelta(days=13)), log.as_of)
    assert windows.calibrate.start < log.exposures["timestamp"].min()
    with pytest.raises(DataError, match="no like is known before"):
        gather_rows(log, windows)


@pytest.mark.parametrize("dwell", [pl.lit(3.0), pl.col("long_view").cast(pl.Float64) * 30])
def test_dwell_of_one_value_or_two_is_no_number(rows: AuditRows, dwell: pl.Expr) -> None:
    table = replace(rows, known=rows.known.with_columns(dwell_seconds=dwell))
    found = follow_dwell(table, ("dwell_seconds",), 0)
    assert found.name == "flags, not dwell"
    assert found.log_odds.any() == (table.known["dwell_seconds"].n_unique() > 1)


@pytest.mark.parametrize("role", ["signals", "outcomes"])
def test_the_like_under_another_name_is_neither_behaviour_nor_outcome(role: str) -> None:
    """As a signal the arm without likes, and R1, would read who liked what: redundant by construction."""
    world = World.preset("small", exposures=5_000, users=100, items=50, like_rate=0.1, seed=3)
    table = simulate(world).events.with_columns(pl.col(LIKED).alias("thumb"))
    named = {"signals": ["long_view"], "outcomes": ["long_view"]}
    named[role] = [*named[role], "thumb"]
    log = read_events(table, **named)
    rows = gather_rows(log, split_by_time(SETTINGS.windows, log.as_of))
    with pytest.raises(ConfigError, match=f"events.{role} names 'thumb', which is the like itself"):
        make_plan(rows, SETTINGS)


def test_a_rare_outcome_is_listed_and_not_asked(rows: AuditRows) -> None:
    rare = rows.score.with_columns(follow=pl.when(pl.int_range(pl.len()) < 5).then(1.0).otherwise(0.0))
    plan = make_plan(replace(rows, score=rare), SETTINGS)
    assert list(plan.outcomes) == ["long_view", "liked"]
    (missing,) = plan.missing
    assert "5 rows" in missing.why


def test_settings_are_hashed_before_scoring(rows: AuditRows) -> None:
    plan, other = (
        make_plan(rows, SETTINGS),
        make_plan(rows, Settings(model=MODEL, audit=AuditSettings(margin=0.002))),
    )
    assert plan.sha256 == make_plan(rows, SETTINGS).sha256 != other.sha256
    assert len(plan.sha256) == 64
    assert {USER, ITEM}.isdisjoint(plan.settings)
