"""Laws of the evaluation: what it may see, what it reports, and that a known truth is recovered."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from recsys.config import EvaluationSettings, ModelSettings, OutputSettings, Settings, WindowsSettings
from recsys.errors import DataError
from recsys.evaluation import BASELINES, Evaluation, evaluate, evaluate_model
from recsys.events import EventLog, read_events
from recsys.features import Snapshots
from recsys.inference import Estimate, paired_difference
from recsys.matrix import distinct_codes
from recsys.metrics import log_losses, ndcg_at, recall_at
from recsys.model import WillLikeModel, fit_model
from recsys.report import format_estimate, headline, render_evaluation
from recsys.simulation import World, simulate
from recsys.split import split_by_time

SETTINGS = Settings(
    model=ModelSettings(factors=8, iterations=4, min_signal_rows=20),
    evaluation=EvaluationSettings(bootstraps=200, null_draws=100),
)


@pytest.fixture(scope="module")
def log() -> EventLog:
    world = World.preset("small", exposures=20_000, users=400, items=150, seed=5)
    return read_events(simulate(world).events, signals=["long_view"])


@pytest.fixture(scope="module")
def evaluation(log: EventLog) -> Evaluation:
    return evaluate(log, SETTINGS)


def test_every_test_exposure_is_scored_once(log: EventLog, evaluation: Evaluation) -> None:
    inside = log.exposures.filter(pl.col("timestamp") >= log.as_of - timedelta(days=3))
    assert evaluation.losses.select("user_id", "item_id", "timestamp", "liked").equals(
        inside.select("user_id", "item_id", "timestamp", "liked")
    )
    assert evaluation.rows["exposures"] == len(inside)
    assert evaluation.rows["likes"] == inside["liked"].sum()


def test_the_headline_follows_from_the_losses_file(evaluation: Evaluation) -> None:
    losses = evaluation.losses
    liked, forecast = losses["liked"].to_numpy(), losses["will_like"].to_numpy()
    rate = liked.mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    by_hand = -np.where(liked, np.log(forecast), np.log(1 - forecast))
    np.testing.assert_allclose(losses["log_loss"], by_hand, rtol=1e-9)
    assert evaluation.metrics["normalized_entropy"].value == pytest.approx(by_hand.mean() / entropy)
    assert evaluation.metrics["bias"].value == pytest.approx((forecast - liked).sum() / liked.sum())
    parts = evaluation.calibration
    assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(by_hand.mean())


def test_every_baseline_has_the_same_figures(evaluation: Evaluation) -> None:
    assert set(evaluation.baselines) == set(BASELINES)
    for figures in evaluation.baselines.values():
        assert set(figures) == set(evaluation.metrics) | {"normalized_entropy_gain"}


def test_the_gain_is_the_paired_difference_of_normalised_entropies(evaluation: Evaluation) -> None:
    for figures in evaluation.baselines.values():
        difference = figures["normalized_entropy"].value - evaluation.metrics["normalized_entropy"].value
        assert figures["normalized_entropy_gain"].value == pytest.approx(difference, abs=1e-12)


def test_a_boosted_head_is_evaluated_beside_the_base_rate() -> None:
    made = simulate(World.preset("small", exposures=4000, users=100, items=50, seed=1))
    found = evaluate(made.events, Settings(model=ModelSettings(head="gbm", factors=4, iterations=2, cuts=1)))
    liked, losses = found.losses["liked"], found.losses["log_loss_base_rate"]
    assert losses.filter(liked).n_unique() == losses.filter(~liked).n_unique() == 1


def test_the_ranking_is_that_of_the_candidates_that_would_be_served() -> None:
    made = simulate(World.preset("small", exposures=20_000, users=400, items=600, seed=3))
    procedure = ModelSettings(factors=8, iterations=3, cuts=1)
    few, every = (
        evaluate(made.events, Settings(model=procedure.model_copy(update={"candidates": number}))).metrics
        for number in (1, 10_000)
    )
    assert few["ndcg@10"] != every["ndcg@10"]
    assert few["normalized_entropy"] == every["normalized_entropy"]


@pytest.mark.parametrize(("served", "most"), [(60, None), (70, 3)])
@pytest.mark.slow
def test_more_candidates_are_tried_as_they_would_be_served(served: int, most: int | None) -> None:
    made = simulate(World.preset("small", exposures=20_000, users=400, items=600, seed=3))
    log = read_events(made.events)
    settings = Settings(
        model=ModelSettings(factors=8, iterations=3, cuts=1, candidates=served),
        output=OutputSettings(max_per_creator=most),
    )
    found = evaluate(log, settings)
    windows = split_by_time(settings.windows, log.as_of)
    model = fit_model(Snapshots(log, settings.model), windows.calibrate, windows.test.cut)
    seen = log.exposures.filter(pl.col("timestamp") < windows.test.cut)
    items = seen["item_id"].n_unique()
    assert [tried.candidates for tried in found.candidates] == [30, 50, served, 100, 200, 500, items]
    liked = log.exposures.filter((pl.col("timestamp") >= windows.test.cut) & pl.col("liked"))
    liked = liked.join(seen, on=["user_id", "item_id"], how="anti")
    alone = {}
    for tried in found.candidates:
        lists = model.recommend(
            liked["user_id"].unique(), 20, exclude=seen, candidates=tried.candidates, max_per_creator=most
        )
        alone[tried.candidates] = ndcg_at(lists, liked, 10)["value"]
        assert tried.users == liked["user_id"].n_unique()
        assert tried.ndcg.value == pytest.approx(alone[tried.candidates].mean(), abs=1e-12)
        assert tried.recall.value == pytest.approx(recall_at(lists, liked, 20)["value"].mean(), abs=1e-12)
    for tried in found.candidates:
        gap = alone[tried.candidates] - alone[items]
        assert tried.difference.value == pytest.approx(gap.mean(), abs=1e-12)
        half = 1.96 * gap.std(ddof=0) / len(gap) ** 0.5
        assert tried.difference.high - tried.difference.value == pytest.approx(half, abs=1e-6)
    assert found.candidates[0].difference.value != 0
    (as_served,) = (tried for tried in found.candidates if tried.candidates == served)
    assert as_served.ndcg == found.metrics["ndcg@10"]
    assert as_served.recall == found.metrics["recall@20"]


@pytest.mark.parametrize("all_affordable", [True, False])
@pytest.mark.slow
def test_where_users_are_many_some_are_drawn(monkeypatch: pytest.MonkeyPatch, all_affordable: bool) -> None:
    made = simulate(World.preset("small", exposures=20_000, users=400, items=1300, seed=3))
    late = made.events["timestamp"].max() - timedelta(days=3)
    items = made.events.filter(pl.col("timestamp") <= late)["item_id"].n_unique()
    monkeypatch.setattr("recsys.evaluation._candidates.MOST_USERS", 40)
    monkeypatch.setattr("recsys.evaluation._candidates.MOST_PAIRS", 40 * items - (not all_affordable))
    settings = Settings(model=ModelSettings(factors=8, iterations=3, cuts=1))
    found = evaluate(made.events, settings)
    assert {tried.users for tried in found.candidates} == {40}
    assert found.candidates[-1].candidates == (items if all_affordable else 1000)
    assert evaluate(made.events, settings).candidates == found.candidates


def test_the_base_rate_neither_ranks_nor_informs(evaluation: Evaluation) -> None:
    base = evaluation.baselines["base_rate"]
    assert base["auc"].value == 0.5
    assert base["gauc"].value == 0.5
    assert np.isnan(base["ndcg@10"].value)
    assert base["normalized_entropy_vs_reference"].value == pytest.approx(1, abs=2e-3)


@pytest.fixture(scope="module")
def against_truth() -> list[tuple[Evaluation, NDArray[np.float64]]]:
    """Three worlds, evaluated, beside the true probabilities of their test rows."""
    found = []
    for seed in (1, 2, 3):
        made = simulate(World.preset("small", exposures=40_000, users=600, items=150, seed=seed))
        scored = evaluate(read_events(made.events, signals=["long_view"]), SETTINGS)
        found.append((scored, made.truth_exposures["p_like_before"].to_numpy()[-len(scored.losses) :]))
    return found


@pytest.mark.slow
def test_it_beats_its_baselines_but_not_the_truth(
    against_truth: list[tuple[Evaluation, NDArray[np.float64]]],
) -> None:
    for found, truth in against_truth:
        assert found.baselines["base_rate"]["normalized_entropy_gain"].low > 0
        assert found.baselines["item_rate"]["normalized_entropy_gain"].low > 0
        assert log_losses(found.losses["liked"].to_numpy(), truth).mean() < found.metrics["log_loss"].value


@pytest.mark.slow
def test_probabilities_are_right_on_average(
    against_truth: list[tuple[Evaluation, NDArray[np.float64]]],
) -> None:
    # A head that takes the growth of counts and scores for a trait is off by .05 to .2 on such young logs.
    biases = [found.losses["will_like"].to_numpy().sum() / truth.sum() - 1 for found, truth in against_truth]
    assert abs(np.mean(biases)) < 0.08


@pytest.mark.parametrize("future", ["deleted", "flipped"])
def test_nothing_in_the_test_window_moves_a_probability(
    log: EventLog, evaluation: Evaluation, future: str
) -> None:
    cut = evaluation.window.cut
    late = pl.col("timestamp") >= cut
    if future == "deleted":
        kept = ~late | (pl.int_range(pl.len()) % 2 == 0)
        changed = log.exposures.filter(kept)
    else:
        changed = log.exposures.with_columns(
            pl.when(late).then(~pl.col("liked")).otherwise(pl.col("liked")).alias("liked"),
            pl.when(late).then(1 - pl.col("long_view")).otherwise(pl.col("long_view")).alias("long_view"),
        )
    windows = {"calibrate_from": evaluation.calibrate.start, "test_from": cut}
    settings = SETTINGS.model_copy(update={"windows": SETTINGS.windows.model_copy(update=windows)})
    again = evaluate(EventLog(**{**vars(log), "exposures": changed}), settings)
    before, after = (
        one.losses.select("user_id", "item_id", "timestamp", "will_like") for one in (evaluation, again)
    )
    both = before.join(after, on=["user_id", "item_id", "timestamp"], suffix="_again")
    assert len(both) == len(after) > 0
    assert (both["will_like"] == both["will_like_again"]).all()


def test_the_same_seed_gives_the_same_figures(log: EventLog, evaluation: Evaluation) -> None:
    assert evaluate(log, SETTINGS, threads=1).as_dict() == evaluation.as_dict()


def test_it_is_json_with_the_keys_that_others_read(evaluation: Evaluation) -> None:
    written = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    assert {"windows", "rows", "metrics", "baselines"} <= set(written)
    assert {
        "normalized_entropy",
        "log_loss",
        "auc",
        "gauc",
        "uauc",
        "brier_skill",
        "calibration",
        "ndcg@10",
        "recall@20",
    } <= set(written["metrics"])
    assert set(written["metrics"]["auc"]) == {"value", "low", "high"}
    assert written["segments"] == evaluation.segments.to_dicts()
    assert [day["day"] for day in written["days"]] == [str(day) for day in evaluation.days["day"]]
    assert list(written["days"][0]) == evaluation.days.columns


def test_segments_days_and_bins_add_up_to_the_window(evaluation: Evaluation) -> None:
    rows = evaluation.rows
    for _, kind in evaluation.segments.group_by("kind"):
        assert kind["exposures"].sum() == rows["exposures"]
        assert kind["likes"].sum() == rows["likes"]
    warmth = {
        row["segment"]: row["exposures"] for row in evaluation.segments.filter(kind="warmth").to_dicts()
    }
    both = warmth.get("cold user and item", 0)
    assert warmth.get("cold user", 0) + both == rows["cold_users"]
    assert warmth.get("cold item", 0) + both == rows["cold_items"]
    assert evaluation.days["exposures"].sum() == rows["exposures"]
    assert evaluation.distribution.select("liked", "unliked").sum().row(0) == (
        rows["likes"],
        rows["exposures"] - rows["likes"],
    )


def test_the_activity_of_a_user_is_what_was_shown_before_the_cut(
    log: EventLog, evaluation: Evaluation
) -> None:
    before = log.exposures.filter(pl.col("timestamp") < evaluation.window.cut)["user_id"].value_counts()
    times = evaluation.losses.join(before, on="user_id", how="left")["count"].fill_null(0)
    last = evaluation.segments.filter(kind="activity")["segment"].to_list()[-1]
    assert last.endswith(f"{times.max():,}")


def test_a_published_version_is_scored_on_what_came_after_it(log: EventLog) -> None:
    cut = log.as_of - timedelta(days=2)
    early = EventLog(
        **{**vars(log), "exposures": log.exposures.filter(pl.col("timestamp") < cut), "as_of": cut}
    )
    model = WillLikeModel.fit(early, SETTINGS.model)
    found = evaluate_model(model, log, SETTINGS)
    assert found.rows["exposures"] == log.exposures.filter(pl.col("timestamp") >= cut).height
    assert found.losses["timestamp"].min() >= cut
    assert found.baselines == {}
    with pytest.raises(DataError, match=r"the scored window .* holds 0 likes in 0 exposures"):
        evaluate_model(WillLikeModel.fit(log, SETTINGS.model), log, SETTINGS)


@pytest.mark.slow
def test_where_the_young_are_liked_more_the_age_of_items_tells() -> None:
    rng = np.random.default_rng(1)
    rows, items = 30_000, 1_500
    start, micros = datetime(2026, 1, 1, tzinfo=UTC), 86_400e6
    item = rng.integers(items, size=rows)
    shown = rng.uniform(0, 4, items)[item] + rng.uniform(0, 8, rows)
    created = np.where(rng.random(items) < 0.5, -rng.uniform(0, 3, items), -rng.uniform(30, 60, items))[item]
    p_like = expit(-3 + 3 * 0.5 ** ((shown - created) / 7))

    def instants(days: NDArray[np.float64]) -> pl.Series:
        return pl.Series((days * micros).astype(np.int64)).cast(pl.Duration("us")) + start

    frame = pl.DataFrame(
        {
            "user_id": rng.integers(500, size=rows),
            "item_id": item,
            "timestamp": instants(shown),
            "liked": rng.random(rows) < p_like,
            "item_created_at": instants(created),
        }
    )
    told, untold = (evaluate(one, SETTINGS) for one in (frame, frame.drop("item_created_at")))
    losses = [one.losses["log_loss"].to_numpy() for one in (told, untold)]
    gain = paired_difference(*losses, distinct_codes(told.losses["user_id"]))
    assert gain.high < 0
    head = WillLikeModel.fit(frame, SETTINGS.model).head.head
    assert head.weights[head.names.index("item_id:newness")] > 0


def test_positives_only_cannot_be_evaluated(log: EventLog) -> None:
    liked = log.exposures.filter("liked").drop("liked")
    with pytest.raises(DataError, match="positives only"):
        evaluate(liked, SETTINGS)


def test_the_report_is_one_file_that_says_the_same(evaluation: Evaluation) -> None:
    page = render_evaluation(evaluation, {"log": "<script>alert(1)</script>"})
    assert headline(evaluation) in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<svg" in page
    for outside in ("src=", "@import", "<link"):
        assert outside not in page
    for figures in (evaluation.metrics, *evaluation.baselines.values()):
        figure = figures["normalized_entropy"]
        assert f"<td>{figure.value:.3f}<small>{figure.low:.3f} to {figure.high:.3f}</small></td>" in page


def test_equal_evaluations_make_equal_reports(evaluation: Evaluation) -> None:
    assert render_evaluation(evaluation, {}) == render_evaluation(evaluation, {})


def test_a_figure_that_cannot_be_estimated_says_so() -> None:
    assert format_estimate(Estimate(float("nan"), 0.0, 1.0)) == "not estimable"


@pytest.fixture(scope="module")
def delayed() -> pl.DataFrame:
    """An event log whose likes arrive half a day after the view, on average."""
    made = simulate(World.preset("small", exposures=20_000, users=300, items=300, seed=9)).events
    views = made.select("user_id", "item_id", "timestamp").with_columns(event_type=pl.lit("VIEW"))
    hours = np.random.default_rng(0).exponential(12, len(made))
    late = made.with_columns(pl.col("timestamp") + pl.Series(hours * 3.6e9).cast(pl.Duration("us")))
    likes = late.filter("liked").select("user_id", "item_id", "timestamp")
    return pl.concat([views, likes.with_columns(event_type=pl.lit("LIKE"))]).sort("timestamp")


@pytest.mark.parametrize(("settle", "biased"), [("0s", True), ("48h", False)])
def test_settle_lets_delayed_likes_arrive_at_every_cut(
    delayed: pl.DataFrame, settle: str, biased: bool
) -> None:
    # Up to as_of = the last view: what a nightly job sees.
    as_of = delayed.filter(event_type="VIEW")["timestamp"].max()
    reading = {
        "layout": "event_log",
        "event_types": {"view": ["VIEW"], "like": ["LIKE"]},
        "like_within": "4d",
    }
    log = read_events(delayed, as_of=as_of, settle=settle, **reading)
    ripe = read_events(delayed, **reading).exposures.filter(~pl.col("factors_only"))
    model = WillLikeModel.fit(log, SETTINGS.model, windows=WindowsSettings(calibrate=timedelta(days=5)))
    assert model.head is not None
    window = (pl.col("timestamp") >= as_of - timedelta(days=5)) & (pl.col("timestamp") < as_of - log.settle)
    true_rate = ripe.filter(window)["liked"].to_numpy().mean()
    assert (model.base_rate < 0.93 * true_rate) == biased


def test_what_is_too_young_to_learn_from_was_shown_all_the_same(delayed: pl.DataFrame) -> None:
    reading = {"layout": "event_log", "event_types": {"view": ["VIEW"], "like": ["LIKE"]}}
    as_of = delayed.filter(event_type="VIEW")["timestamp"].max()
    log = read_events(delayed, as_of=as_of, settle="48h", **reading)
    assert log.counts.unsettled > 100
    views = delayed.filter(pl.col("timestamp") < as_of, event_type="VIEW").select("user_id", "item_id")
    found = WillLikeModel.fit(log, SETTINGS.model).recommend(n=20)
    assert found.join(views, on=["user_id", "item_id"], how="semi").is_empty()


def test_every_event_of_a_log_is_accounted_for(delayed: pl.DataFrame) -> None:
    reading = {"layout": "event_log", "event_types": {"view": ["VIEW"], "like": ["LIKE"]}}
    counts = read_events(delayed, settle="12h", **reading).counts
    parts = counts.accepted + counts.refused + counts.duplicates + counts.unsettled + counts.folded
    assert counts.read == len(delayed) == parts
    assert counts.folded > 100
