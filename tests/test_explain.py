"""Explanations: the sum is the probability, the past items are the score, and every feature has words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from scipy.special import expit, logit

from recsys.config import ModelSettings
from recsys.errors import DataError, InputError
from recsys.events import EventLog, read_events
from recsys.features import put_in_words
from recsys.model import Explanation, PastItems, WillLikeModel
from recsys.probability import LogisticHead

NEW = 999_999
PAIRS = [(10, 1000), (13, 1007), (100, 1070), (NEW, 1000), (10, NEW), (NEW, NEW)]


@pytest.fixture(scope="module", params=["logistic", "gbm"])
def model(log: EventLog, small: ModelSettings, request: pytest.FixtureRequest) -> WillLikeModel:
    return WillLikeModel.fit(log, small.model_copy(update={"head": request.param}), threads=1)


@pytest.fixture(scope="module")
def logistic(log: EventLog, small: ModelSettings) -> WillLikeModel:
    return WillLikeModel.fit(log, small, threads=1)


def added_up(why: Explanation) -> float:
    moved = why.contributions["log_odds"].sum()
    return float(logit(why.base_rate) + why.average + moved + why.calibration)


class TestSum:
    @pytest.mark.parametrize("pair", PAIRS)
    def test_base_rate_and_moves_are_the_served_probability(
        self, model: WillLikeModel, pair: tuple[int, int]
    ) -> None:
        why = model.explain(*pair)
        assert added_up(why) == pytest.approx(logit(why.will_like), abs=1e-9)
        assert why.steps()["probability"][-1] == pytest.approx(why.will_like, abs=1e-12)
        served = model.predict_proba(pl.DataFrame({"user_id": [pair[0]], "item_id": [pair[1]]}))
        told = {"will_like": why.will_like, "will_like_low": why.low, "will_like_high": why.high}
        for name, value in told.items():
            assert served[name][0] == np.float32(value)

    def test_sampled_unliked_exposures_move_the_base_rate_as_they_move_the_probability(
        self, model: WillLikeModel
    ) -> None:
        assert model.head is not None
        kept = replace(model, head=replace(model.head, negatives_kept=0.25))
        whole, sampled = model.explain(10, 1000), kept.explain(10, 1000)
        assert added_up(sampled) == pytest.approx(logit(sampled.will_like), abs=1e-9)
        for name in ("base_rate", "will_like"):
            one, other = getattr(whole, name), getattr(sampled, name)
            assert logit(one) - logit(other) == pytest.approx(np.log(4), abs=1e-9)
        assert sampled.contributions.equals(whole.contributions)

    def test_a_probability_at_its_bound_still_adds_up(self, logistic: WillLikeModel) -> None:
        assert logistic.head is not None
        steep = replace(logistic.head.calibrator, c=40.0)
        why = replace(logistic, head=replace(logistic.head, calibrator=steep)).explain(10, 1000)
        assert why.will_like == pytest.approx(1 - 1e-7, abs=1e-12)
        assert expit(added_up(why)) == pytest.approx(why.will_like, abs=1e-12)

    def test_a_contribution_is_what_the_log_odds_lose_with_the_feature_at_its_average(
        self, logistic: WillLikeModel
    ) -> None:
        assert logistic.head is not None
        head = logistic.head.head
        assert isinstance(head, LogisticHead)
        placed = logistic.snapshot.place(pl.DataFrame({"user_id": [13], "item_id": [1007]}))
        features = logistic.features(placed)
        why = logistic.explain(13, 1007)
        told = dict(why.contributions.select("feature", "log_odds").iter_rows())
        assert set(told) == set(head.names)
        for place, name in enumerate(head.names):
            average = features.copy()
            average[0, place] = head.means[place]
            assert told[name] == pytest.approx((head.logit(features) - head.logit(average))[0], abs=1e-9)
        everywhere = head.logit(head.means[None])[0]
        assert logit(why.base_rate) + why.average == pytest.approx(everywhere, abs=1e-9)

    def test_steps_name_the_largest_and_add_the_others(self, model: WillLikeModel) -> None:
        why = model.explain(10, 1000)
        assert why.contributions["log_odds"].abs().is_sorted(descending=True)
        few, all_of_them = why.steps(3), why.steps(1000)
        assert len(few) == 2 + 3 + 1 + 1
        assert len(all_of_them) == 2 + len(why.contributions) + 1
        assert len(why.steps(len(why.contributions) - 1)) == len(all_of_them)
        assert not why.steps(len(why.contributions) - 1)["what"].str.contains("the other").any()
        assert few["log_odds"].sum() == pytest.approx(all_of_them["log_odds"].sum())
        assert few["what"][2:5].to_list() == why.contributions["words"][:3].to_list()


def strengths_of(frame: pl.DataFrame, signal: str, unit: float) -> pl.DataFrame:
    """Sum what one user did with each item, from the raw log."""
    value = pl.lit(1.0) if signal == "exposed" else pl.col(signal).cast(pl.Float64)
    strong = frame.with_columns((value / unit).clip(upper_bound=10).alias("strength"))
    summed = strong.filter(pl.col("strength") > 0).group_by("item_id").agg(pl.col("strength").sum())
    return summed.sort("item_id")


def solve(
    model: WillLikeModel, signal: str, strengths: pl.DataFrame, settings: ModelSettings
) -> tuple[csr_matrix, np.ndarray]:
    """Solve a user's normal equations with every item in them, the slow way."""
    factors = model.snapshot.factors[signal].item_factors.astype(np.float64)
    confidence, pressed = np.ones(len(factors)), np.zeros(len(factors))
    places = model.snapshot.entities["item_id"].index.codes(strengths["item_id"])
    confidence[places] += settings.alpha * strengths["strength"].to_numpy()
    pressed[places] = 1.0
    left = factors.T @ np.diag(confidence) @ factors + settings.regularization * np.eye(factors.shape[1])
    row = csr_matrix(pressed * confidence).astype(np.float32)
    return row, np.linalg.solve(left, factors.T @ (confidence * pressed))


def past_of(why: Explanation, signal: str) -> PastItems:
    return next(one for one in why.past if one.signal == signal)


class TestPastItems:
    @pytest.mark.parametrize("signal", ["exposed", "liked", "long_view", "dwell_seconds"])
    def test_scores_are_those_of_the_normal_equations_and_of_implicit(
        self, logistic: WillLikeModel, frame: pl.DataFrame, small: ModelSettings, signal: str
    ) -> None:
        user, item = 13, 1007
        past = past_of(logistic.explain(user, item), signal)
        numbers = frame[signal].cast(pl.Float64) if signal in frame.columns else pl.Series([1.0])
        unit = numbers.filter(numbers > 0).median()
        expected = strengths_of(frame.filter(user_id=user), signal, unit)
        found = past.items.sort("item_id")
        assert found["item_id"].to_list() == expected["item_id"].to_list()
        np.testing.assert_allclose(found["strength"], expected["strength"], rtol=1e-6)

        row, user_factors = solve(logistic, signal, expected, small)
        index = logistic.snapshot.entities["item_id"].index
        place = int(index.codes(pl.Series([item]))[0])
        factors = logistic.snapshot.factors[signal].item_factors
        assert past.recomputed == pytest.approx(user_factors @ factors[place], rel=1e-5)
        assert past.recomputed == pytest.approx(past.items["score"].sum(), abs=1e-12)

        als = AlternatingLeastSquares(factors=small.factors, regularization=small.regularization, alpha=1.0)
        als.item_factors = factors
        total, top, _ = als.explain(0, row, place, N=len(expected))
        assert past.recomputed == pytest.approx(total, rel=1e-3, abs=1e-5)
        theirs = {int(index.ids[int(code)]): score for code, score in top}
        assert set(theirs) == set(found["item_id"])
        for item_id, score in found.select("item_id", "score").iter_rows():
            assert score == pytest.approx(theirs[item_id], rel=1e-3, abs=1e-4)

    def test_served_is_the_score_that_was_served(self, logistic: WillLikeModel) -> None:
        served = logistic.predict_proba(pl.DataFrame({"user_id": [13], "item_id": [1007]}))["score"][0]
        assert past_of(logistic.explain(13, 1007), "liked").served == pytest.approx(served)

    def test_recomputed_nears_the_served_score_as_the_factorisation_converges(
        self, log: EventLog, small: ModelSettings
    ) -> None:
        def miss(iterations: int) -> float:
            model = WillLikeModel.fit(log, small.model_copy(update={"iterations": iterations}), threads=1)
            pairs = [(user, item) for user in (10, 13, 100) for item in (1000, 1007, 1070)]
            past = [past_of(model.explain(*pair), "exposed") for pair in pairs]
            return float(np.mean([abs(one.recomputed - one.served) for one in past]))

        assert miss(200) < min(0.01, miss(1) / 5)

    def test_the_heaviest_come_first(self, logistic: WillLikeModel) -> None:
        for one in logistic.explain(13, 1007).past:
            assert one.items["score"].abs().is_sorted(descending=True)

    def test_a_side_that_a_factorisation_does_not_know_has_none(self, logistic: WillLikeModel) -> None:
        assert logistic.explain(NEW, 1000).past == ()
        assert logistic.explain(10, NEW).past == ()

    def test_a_loaded_model_asks_for_the_log_and_then_says_the_same(
        self, logistic: WillLikeModel, log: EventLog
    ) -> None:
        loaded = WillLikeModel.from_files(logistic.to_files())
        alone = loaded.explain(13, 1007)
        assert alone.past == ()
        assert "need the log" in alone.notes[0]
        fitted, told = logistic.explain(13, 1007), loaded.explain(13, 1007, log)
        assert told.as_dict() == fitted.as_dict()
        assert alone.contributions.equals(fitted.contributions)

    def test_what_came_after_as_of_changes_nothing(
        self, frame: pl.DataFrame, small: ModelSettings, day: Callable[[float], datetime]
    ) -> None:
        before = read_events(frame, signals=["long_view"], as_of=day(9))
        model = WillLikeModel.fit(before, small, threads=1)
        later = read_events(frame, signals=["long_view"])
        assert model.explain(13, 1007, later).as_dict() == model.explain(13, 1007).as_dict()

    def test_a_log_that_lacks_a_signal_is_refused(self, logistic: WillLikeModel, frame: pl.DataFrame) -> None:
        with pytest.raises(InputError, match="the log has no column 'long_view'"):
            logistic.explain(13, 1007, read_events(frame.drop("long_view")))


class TestWords:
    def test_every_feature_has_its_own_words(self, logistic: WillLikeModel) -> None:
        snapshot = logistic.snapshot
        for user, item in PAIRS:
            values = snapshot.pair_features(
                snapshot.place(pl.DataFrame({"user_id": [user], "item_id": [item]}))
            )
            words = put_in_words(snapshot, snapshot.names, values[0])
            assert len(set(words)) == len(snapshot.names)
            assert not any(name in words for name in snapshot.names)

    def test_a_feature_without_words_is_a_defect(self, logistic: WillLikeModel) -> None:
        with pytest.raises(KeyError):
            put_in_words(logistic.snapshot, ["user_id:unheard_of"], np.zeros(1))

    def test_words_tell_what_the_log_says(
        self, logistic: WillLikeModel, frame: pl.DataFrame, log: EventLog
    ) -> None:
        why = logistic.explain(13, 1007)
        told = dict(why.contributions.select("feature", "words").iter_rows())
        values = dict(why.contributions.select("feature", "value").iter_rows())
        assert told["user_id:ln_exposures"] == f"exposures of this user: {len(frame.filter(user_id=13)):,}"
        mine = frame.filter(item_id=1007)
        days = (log.as_of - mine["timestamp"].min()).total_seconds() / 86_400
        assert told["item_id:newness"] == f"this item was created, or first shown, {days:.1f} days before"
        lately = f"{np.exp(values['user_id:lately:liked']):.3g} times the usual odds"
        assert told["user_id:lately:liked"] == f"likes by this user lately: {lately}"

    def test_what_is_too_long_ago_for_a_weight_is_told_as_that(self) -> None:
        rows = [(1, 1, day, day == 0) for day in range(1200)]
        rows += [(2 + k % 40, 2 + k % 7, 1190 + k // 100, k % 3 == 0) for k in range(1000)]
        old = pl.DataFrame(rows, ["user_id", "item_id", "day", "liked"], orient="row")
        start = pl.lit(datetime(2020, 1, 1, tzinfo=UTC))
        frame = old.select(
            "user_id",
            "item_id",
            "liked",
            timestamp=start + pl.duration(days="day", microseconds=pl.int_range(pl.len())),
            item_created_at=pl.lit(datetime(1995, 1, 1, tzinfo=UTC)),
        )
        model = WillLikeModel.fit(frame, ModelSettings(factors=2, iterations=1, half_life=1.0), threads=1)
        told = dict(model.explain(1, 1).contributions.select("feature", "words").iter_rows())
        assert told["item_id:newness"] == "this item was created, or first shown, more than 20 years before"
        assert "too long ago" in told["user_id:liked_lately"]

    def test_nothing_known_is_said_so(self, logistic: WillLikeModel) -> None:
        why = logistic.explain(NEW, NEW)
        told = dict(why.contributions.select("feature", "words").iter_rows())
        assert told["user_id:ln_exposures"] == "exposures of this user: 0"
        assert told["item_id:newness"] == "this item is new"
        assert told["user_id:lately:liked"] == "likes by this user lately: the usual odds"
        assert told["dot:liked"] == "ALS of 'liked': none of this user or of this item"
        assert [note.split(" was not seen")[0] for note in why.notes] == [f"user {NEW}", f"item {NEW}"]
        assert logistic.explain(10, 1000).notes == ()


class TestEdges:
    def test_plain_values_survive_json(self, model: WillLikeModel) -> None:
        plain = model.explain(10, 1000).as_dict()
        again = json.loads(json.dumps(plain, allow_nan=False))
        assert again["contributions"] == plain["contributions"]
        assert again["past"][0]["items"] == plain["past"][0]["items"]

    def test_without_probabilities_there_is_nothing_to_explain(
        self, frame: pl.DataFrame, small: ModelSettings
    ) -> None:
        liked = frame.filter("liked").drop("liked", "history_only")
        with pytest.raises(DataError, match="positives only"):
            WillLikeModel.fit(liked, small, threads=1).explain(10, 1000)

    def test_ids_of_another_kind_are_refused(self, logistic: WillLikeModel) -> None:
        with pytest.raises(DataError, match="user_id is String here"):
            logistic.explain("10", 1000)
