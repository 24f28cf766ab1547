"""Metrics against independent oracles, slow loops and laws."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from model_diagnostics.scoring import LogLoss, SquaredError, decompose
from numpy.testing import assert_allclose
from scipy.stats import binom
from sklearn.isotonic import IsotonicRegression

from recsys import metrics
from recsys.errors import UsageError

# No deadline: shared cores stall.
LAW = settings(max_examples=40, deadline=None, derandomize=True)


def simulate(
    rows: int = 2000, users: int = 60, seed: int = 0, decimals: int | None = None
) -> dict[str, np.ndarray]:
    """Rows whose true probabilities are known; rounded forecasts tie."""
    rng = np.random.default_rng(seed)
    truth = np.clip(rng.beta(1, 6, rows), 0.004, 0.996)
    forecast = truth if decimals is None else np.clip(truth.round(decimals), 0.01, 0.99)
    return {"users": rng.integers(0, users, rows), "liked": rng.random(rows) < truth, "will_like": forecast}


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both kinds and forecasts from a coarse grid, so that ties are common."""
    rows = draw(st.integers(2, 40))
    liked = draw(st.lists(st.booleans(), min_size=rows, max_size=rows).filter(lambda y: 0 < sum(y) < len(y)))
    will_like = draw(st.lists(st.integers(1, 19).map(lambda k: k / 20), min_size=rows, max_size=rows))
    return np.array(liked), np.array(will_like)


class TestScores:
    def test_agrees_with_scikit_learn(self) -> None:
        rows = simulate()
        y, p = rows["liked"], rows["will_like"]
        assert_allclose(metrics.log_loss(y, p), sklearn.metrics.log_loss(y, p))
        brier, base = sklearn.metrics.brier_score_loss(y, p), y.mean() * (1 - y.mean())
        assert_allclose(metrics.brier_skill(y, p), 1 - brier / base)

    def test_normalized_entropy_is_the_loss_over_that_of_the_base_rate(self) -> None:
        rows = simulate()
        y, p = rows["liked"], rows["will_like"]
        base = sklearn.metrics.log_loss(y, np.full(y.size, y.mean()))
        assert_allclose(metrics.normalized_entropy(y, p), sklearn.metrics.log_loss(y, p) / base)

    @LAW
    @given(labelled())
    def test_base_rate_forecast_explains_nothing(self, rows: tuple[np.ndarray, np.ndarray]) -> None:
        liked, constant = rows[0], np.full(rows[0].size, rows[0].mean())
        assert_allclose(metrics.normalized_entropy(liked, constant), 1)
        assert_allclose(metrics.brier_skill(liked, constant), 0, atol=1e-12)
        assert metrics.auc(liked, constant) == 0.5

    @LAW
    @given(labelled(), st.integers(0, 2**32 - 1))
    def test_row_order_does_not_matter(self, rows: tuple[np.ndarray, np.ndarray], seed: int) -> None:
        order = np.random.default_rng(seed).permutation(rows[0].size)
        for figure in (metrics.normalized_entropy, metrics.brier_skill, metrics.auc, metrics.miscalibration):
            assert_allclose(figure(rows[0][order], rows[1][order]), figure(*rows), atol=1e-12)

    def test_entropy_in_bits_of_a_fair_coin(self) -> None:
        assert_allclose(metrics.binary_entropy(0.5) / math.log(2), 1)
        assert_allclose(metrics.binary_entropy([0, 1, math.nan]), [0, 0, math.nan])

    @pytest.mark.parametrize("liked", [[0, 0, 0], [1, 1, 1]])
    def test_one_class_leaves_relative_figures_undefined(self, liked: list[int]) -> None:
        p = [0.1, 0.2, 0.3]
        for figure in (metrics.normalized_entropy, metrics.brier_skill, metrics.auc):
            assert math.isnan(figure(liked, p))
        assert metrics.log_loss(liked, p) > 0
        assert_allclose(metrics.corp_decomposition(liked, p).uncertainty, 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("liked", "will_like", "message"),
        [
            ([0, 1], [0.5], r"equally long.*liked \(2,\), will_like \(1,\)"),
            ([], [], "not empty"),
            ([[0, 1]], [[0.5, 0.5]], "one-dimensional"),
            ([0, 1], [0.5, 1.0], "strictly between 0 and 1, got 1"),
            ([0, 1], [0.0, 0.5], "strictly between 0 and 1, got 0"),
            ([0, 1], [0.5, math.nan], "must be finite"),
            ([0, 1], [0.5, math.inf], "must be finite"),
            ([0, 2], [0.5, 0.5], "only 0 and 1"),
            ([0, math.nan], [0.5, 0.5], "only 0 and 1"),
            ([0, None], [0.5, 0.5], "only 0 and 1"),
            ([0, 1], ["a", "b"], "must hold numbers"),
        ],
    )
    @pytest.mark.parametrize(
        "figure", [metrics.log_loss, metrics.corp_decomposition, metrics.reliability_curve]
    )
    def test_bad_columns(self, figure, liked, will_like, message) -> None:
        with pytest.raises(UsageError, match=message):
            figure(liked, will_like)

    def test_bad_codes_and_rates(self) -> None:
        with pytest.raises(UsageError, match="integer codes"):
            metrics.user_aucs([0.5, 1], [0, 1], [0.1, 0.2])
        with pytest.raises(UsageError, match="equally long"):
            metrics.user_aucs([1], [0, 1], [0.1, 0.2])
        with pytest.raises(UsageError, match=r"\[0, 1\], got 1.5"):
            metrics.binary_entropy([0.5, 1.5])
        with pytest.raises(UsageError, match="did you mean 'brier'"):
            metrics.corp_decomposition([0, 1], [0.5, 0.5], score="briar")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="at least 39"):
            metrics.miscalibration_null_band([0.5], draws=10, seed=0)


class TestAuc:
    @pytest.mark.parametrize("decimals", [None, 2, 1])
    def test_agrees_with_scikit_learn_also_with_ties(self, decimals: int | None) -> None:
        rows = simulate(decimals=decimals)
        expected = sklearn.metrics.roc_auc_score(rows["liked"], rows["will_like"])
        assert_allclose(metrics.auc(rows["liked"], rows["will_like"]), expected)

    def test_users_agree_with_a_slow_loop(self) -> None:
        rows = simulate(users=300, decimals=1)
        aucs, exposures = [], []
        for user in np.unique(rows["users"]):
            mine = rows["users"] == user
            if 0 < rows["liked"][mine].sum() < mine.sum():
                aucs.append(sklearn.metrics.roc_auc_score(rows["liked"][mine], rows["will_like"][mine]))
                exposures.append(mine.sum())
        found = metrics.user_aucs(rows["users"], rows["liked"], rows["will_like"])
        assert_allclose(found.auc, aucs)
        assert_allclose(found.exposures, exposures)
        assert_allclose(metrics.gauc(found), np.average(aucs, weights=exposures))
        assert_allclose(metrics.uauc(found), np.mean(aucs))
        assert 0.5 < found.share_of_rows < 1
        assert_allclose(found.share_of_rows, sum(exposures) / rows["users"].size)

    def test_codes_need_not_be_dense_nor_positive(self) -> None:
        rows = simulate(users=30)
        renamed = np.random.default_rng(1).permutation(30)[rows["users"]] * 1000 - 7
        before = metrics.user_aucs(rows["users"], rows["liked"], rows["will_like"])
        after = metrics.user_aucs(renamed, rows["liked"], rows["will_like"])
        assert_allclose(metrics.gauc(after), metrics.gauc(before))

    @LAW
    @given(labelled())
    def test_monotone_scores_rank_alike_and_negated_ones_reverse(self, rows) -> None:
        liked, scores = rows
        assert metrics.auc(liked, np.exp(scores) - 7) == metrics.auc(liked, scores)
        assert_allclose(metrics.auc(liked, -scores), 1 - metrics.auc(liked, scores))

    def test_a_users_level_moves_auc_but_not_gauc(self) -> None:
        rows = simulate(users=40)
        shift = np.random.default_rng(2).normal(0, 5, 40)[rows["users"]]
        before = metrics.user_aucs(rows["users"], rows["liked"], rows["will_like"])
        after = metrics.user_aucs(rows["users"], rows["liked"], rows["will_like"] + shift)
        assert metrics.gauc(after) == metrics.gauc(before)
        assert metrics.auc(rows["liked"], rows["will_like"] + shift) < metrics.gauc(after) - 0.05

    def test_no_user_with_both_labels(self) -> None:
        found = metrics.user_aucs([1, 1, 2], [1, 1, 0], [0.1, 0.2, 0.3])
        assert found.share_of_rows == 0
        assert math.isnan(metrics.gauc(found))
        assert math.isnan(metrics.uauc(found))


class TestCorp:
    @pytest.mark.parametrize(("score", "oracle"), [("log_loss", LogLoss()), ("brier", SquaredError())])
    @pytest.mark.parametrize("decimals", [None, 2])
    def test_agrees_with_model_diagnostics(self, score, oracle, decimals) -> None:
        rows = simulate(decimals=decimals)
        expected = decompose(rows["liked"].astype(float), rows["will_like"], scoring_function=oracle)
        found = metrics.corp_decomposition(rows["liked"], rows["will_like"], score)
        for part in ("miscalibration", "discrimination", "uncertainty", "score"):
            assert_allclose(getattr(found, part), expected[part][0], atol=1e-12)

    @LAW
    @given(labelled())
    def test_parts_are_never_negative_and_add_up(self, rows) -> None:
        found = metrics.corp_decomposition(*rows)
        assert min(found.miscalibration, found.discrimination) > -1e-12
        assert_allclose(found.score, metrics.log_loss(*rows))
        assert_allclose(found.miscalibration, metrics.miscalibration(*rows))

    @pytest.mark.parametrize("score", ["log_loss", "brier"])
    @LAW
    @given(rows=labelled())
    def test_base_rate_is_calibrated_and_discriminates_nothing(self, score, rows) -> None:
        found = metrics.corp_decomposition(rows[0], np.full(rows[0].size, rows[0].mean()), score)
        assert_allclose(found.discrimination, 0, atol=1e-12)
        assert_allclose(found.miscalibration, 0, atol=1e-12)

    def test_monotone_distortion_costs_miscalibration_only(self) -> None:
        rows = simulate()
        before = metrics.corp_decomposition(rows["liked"], rows["will_like"])
        after = metrics.corp_decomposition(rows["liked"], rows["will_like"] ** 3)
        assert after.discrimination == before.discrimination
        assert after.miscalibration > 10 * before.miscalibration


class TestReliability:
    @pytest.mark.parametrize("decimals", [None, 2])
    def test_blocks_agree_with_scikit_learn(self, decimals: int | None) -> None:
        rows = simulate(decimals=decimals)
        y, p = rows["liked"].astype(float), rows["will_like"]
        recalibrated = IsotonicRegression().fit(p, y).predict(p)
        rates, counts = np.unique(recalibrated.round(12), return_counts=True)
        curve = metrics.reliability_curve(y, p)
        assert_allclose(curve["recalibrated"], rates)
        assert_allclose(curve["rows"], counts)

    @LAW
    @given(labelled())
    def test_blocks_partition_the_rows_and_rise(self, rows) -> None:
        liked, p = rows
        curve = metrics.reliability_curve(liked, p)
        assert curve["rows"].sum() == p.size
        assert_allclose((curve["rows"] * curve["recalibrated"]).sum(), liked.sum())
        assert_allclose((curve["rows"] * curve["forecast_mean"]).sum(), p.sum())
        assert (np.diff(curve["recalibrated"]) > 0).all()
        assert (curve["forecast_high"].to_numpy()[:-1] < curve["forecast_low"].to_numpy()[1:]).all()
        for low, high, rate, count in curve.select(
            "forecast_low", "forecast_high", "recalibrated", "rows"
        ).iter_rows():
            inside = (p >= low) & (p <= high)
            assert inside.sum() == count
            assert_allclose(liked[inside].mean(), rate)


class TestNullBand:
    def test_true_probabilities_stay_inside_95_times_in_100(self) -> None:
        rng = np.random.default_rng(11)
        inside = 0
        for seed in range(200):
            p = np.clip(rng.beta(1, 8, 300), 0.01, 0.99)
            band = metrics.miscalibration_null_band(p, draws=39, seed=seed)
            inside += band.low <= metrics.miscalibration(rng.random(300) < p, p) <= band.high
        low, high = binom.ppf([0.005, 0.995], 200, 0.95)
        assert low <= inside <= high

    @pytest.mark.parametrize(
        "distort", [lambda p: p**1.5, lambda p: 0.7 * p, lambda p: p / (p + (1 - p) / 2)]
    )
    def test_wrong_probabilities_leave_it(self, distort) -> None:
        rows = simulate(rows=5000)
        forecast = distort(rows["will_like"])
        band = metrics.miscalibration_null_band(forecast, draws=99, seed=0)
        assert metrics.miscalibration(rows["liked"], forecast) > band.high

    def test_overconfident_probabilities_leave_it(self) -> None:
        rows = simulate(rows=5000)
        logit = np.log(rows["will_like"] / (1 - rows["will_like"]))
        centre = np.log(rows["liked"].mean() / (1 - rows["liked"].mean()))
        forecast = 1 / (1 + np.exp(-(centre + 1.6 * (logit - centre))))
        band = metrics.miscalibration_null_band(forecast, draws=99, seed=0)
        assert metrics.miscalibration(rows["liked"], forecast) > band.high

    def test_agrees_with_a_slow_loop_over_the_same_labels(self) -> None:
        p = np.sort(simulate(rows=400, decimals=2)["will_like"])
        rng = np.random.default_rng(5)
        slow = [metrics.miscalibration(rng.random(400) < p, p) for _ in range(99)]
        band = metrics.miscalibration_null_band(np.random.default_rng(0).permutation(p), draws=99, seed=5)
        assert_allclose([band.low, band.high], np.quantile(slow, [0.025, 0.975], method="weibull"))

    def test_pointwise_band_agrees_with_scikit_learn_over_the_same_labels(self) -> None:
        p = np.sort(simulate(rows=400, decimals=2)["will_like"])
        rng = np.random.default_rng(5)
        band = metrics.reliability_null_band(p, draws=99, seed=5, points=20)
        assert_allclose(band["forecast"], np.unique(p[np.linspace(0, 399, 20).round().astype(int)]))
        slow = [IsotonicRegression().fit(p, rng.random(400) < p).predict(band["forecast"]) for _ in range(99)]
        expected = np.quantile(slow, [0.025, 0.975], axis=0, method="weibull")
        assert_allclose(band.select("low", "high").to_numpy().T, expected, atol=1e-12)

    def test_seed_decides(self) -> None:
        p = simulate(rows=200)["will_like"]
        bands = [metrics.miscalibration_null_band(p, draws=39, seed=seed) for seed in (0, 0, 1)]
        assert bands[0] == bands[1] != bands[2]

    def test_pointwise_band_holds_95_in_100_points_of_true_probabilities(self) -> None:
        rng = np.random.default_rng(3)
        shares = []
        for seed in range(40):
            p = np.clip(rng.beta(1, 4, 400), 0.01, 0.99)
            band = metrics.reliability_null_band(p, draws=99, seed=seed, points=20)
            curve = metrics.reliability_curve(rng.random(400) < p, p)
            found = band.join_asof(curve, left_on="forecast", right_on="forecast_low")["recalibrated"]
            shares.append(((band["low"] <= found) & (found <= band["high"])).mean())
        assert 0.92 < np.mean(shares) < 0.985

    def test_grid_holds_observed_forecasts_from_lowest_to_highest(self) -> None:
        p = simulate(rows=500, decimals=2)["will_like"]
        grid = metrics.reliability_null_band(p, draws=39, seed=0, points=30)["forecast"].to_numpy()
        assert set(grid) <= set(p)
        assert (grid[0], grid[-1]) == (p.min(), p.max())
        assert (np.diff(grid) > 0).all()
        with pytest.raises(UsageError, match="points"):
            metrics.reliability_null_band(p, draws=39, seed=0, points=1)


def draw_ranking(
    seed: int, users: int = 25, items: int = 30, n: int = 12
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Recommendations for most users and relevant items for most; likes are repeated now and then."""
    rng = np.random.default_rng(seed)
    shown = [
        (f"u{u}", int(i), r + 1) for u in range(users - 5) for r, i in enumerate(rng.permutation(items)[:n])
    ]
    liked = [(f"u{u}", int(i)) for u in range(4, users) for i in rng.integers(0, items, rng.integers(0, 20))]
    recommendations = pl.DataFrame(shown, schema=["user_id", "item_id", "rank"], orient="row")
    relevant = pl.DataFrame(liked, schema=["user_id", "item_id"], orient="row")
    return recommendations.sample(fraction=1, shuffle=True, seed=seed), relevant


def rank_slowly(
    recommendations: pl.DataFrame, relevant: pl.DataFrame, k: int
) -> dict[str, tuple[float, ...]]:
    found = {}
    for user in sorted(set(relevant["user_id"])):
        wanted = set(relevant.filter(user_id=user)["item_id"])
        shown = (
            recommendations.filter(user_id=user).sort("rank").filter(pl.col("rank") <= k)["item_id"].to_list()
        )
        hit = [item in wanted for item in shown]
        best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
        gain = sum(1 / math.log2(place + 2) for place, h in enumerate(hit) if h)
        precisions = [sum(hit[: place + 1]) / (place + 1) for place, h in enumerate(hit) if h]
        possible = min(k, len(wanted))
        found[user] = (gain / best, sum(hit) / possible, sum(precisions) / possible)
    return found


class TestRanking:
    @pytest.mark.parametrize("k", [1, 5, 12, 50])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_agrees_with_a_slow_loop(self, k: int, seed: int) -> None:
        recommendations, relevant = draw_ranking(seed)
        expected = rank_slowly(recommendations, relevant, k)
        for place, figure in enumerate((metrics.ndcg_at, metrics.recall_at, metrics.average_precision_at)):
            found = figure(recommendations, relevant, k)
            assert found["user_id"].to_list() == list(expected)
            assert_allclose(found["value"], [values[place] for values in expected.values()])

    def test_ndcg_agrees_with_scikit_learn(self) -> None:
        recommendations, relevant = draw_ranking(2)
        for user, value in metrics.ndcg_at(recommendations, relevant, 10).iter_rows():
            mine = recommendations.filter(user_id=user)
            score, truth = np.zeros(30), np.zeros(30)
            score[mine["item_id"]] = 100 - mine["rank"].to_numpy()
            truth[relevant.filter(user_id=user)["item_id"]] = 1
            if mine.height:
                assert_allclose(value, sklearn.metrics.ndcg_score([truth], [score], k=10, ignore_ties=True))

    def test_perfect_order_scores_1_and_no_recommendation_0(self) -> None:
        relevant = pl.DataFrame({"user_id": [1, 1, 1, 2], "item_id": [5, 6, 7, 5]})
        perfect = pl.DataFrame({"user_id": [1, 1, 1], "item_id": [5, 6, 9], "rank": [1, 2, 3]})
        for figure in (metrics.ndcg_at, metrics.recall_at, metrics.average_precision_at):
            assert figure(perfect, relevant, 2)["value"].to_list() == [1, 0]
            assert figure(perfect.clear(), relevant, 2)["value"].to_list() == [0, 0]
            assert figure(perfect, relevant.clear(), 2).is_empty()

    def test_rows_in_any_order_give_the_same_bits(self) -> None:
        recommendations, relevant = draw_ranking(3)
        shuffled = [frame.sample(fraction=1, shuffle=True, seed=9) for frame in (recommendations, relevant)]
        assert metrics.ndcg_at(recommendations, relevant, 10).equals(metrics.ndcg_at(*shuffled, 10))

    def test_coverage_and_gini_against_their_definitions(self) -> None:
        recommendations, _ = draw_ranking(4)
        counts = np.zeros(40)
        np.add.at(counts, recommendations.filter(pl.col("rank") <= 3)["item_id"].to_numpy(), 1)
        gini = np.abs(counts[:, None] - counts).sum() / (2 * 40 * counts.sum())
        assert_allclose(metrics.exposure_gini(recommendations, 40, k=3), gini)
        assert_allclose(metrics.catalogue_coverage(recommendations, 40, k=3), (counts > 0).mean())

    def test_equal_exposure_has_no_gini(self) -> None:
        one_each = pl.DataFrame({"user_id": [1, 2, 3], "item_id": [7, 8, 9], "rank": [1, 1, 1]})
        assert metrics.exposure_gini(one_each, 3, k=5) == 0
        assert metrics.catalogue_coverage(one_each, 3, k=5) == 1
        assert math.isnan(metrics.exposure_gini(one_each.clear(), 3, k=5))

    @pytest.mark.parametrize(
        ("recommendations", "message"),
        [
            ({"user_id": [1], "item_id": [1]}, "column 'rank'"),
            ({"user_id": [1], "item_id": [1], "ranks": [1]}, "did you mean 'ranks'"),
            ({"user_id": [1], "item_id": [1], "rank": [0]}, "from 1"),
            ({"user_id": [1], "item_id": [1], "rank": [1.0]}, "whole numbers"),
            ({"user_id": [1], "item_id": [None], "rank": [1]}, "nulls"),
            ({"user_id": [1, 1], "item_id": [3, 3], "rank": [1, 2]}, "each item_id once"),
            ({"user_id": [1, 1], "item_id": [3, 4], "rank": [1, 1]}, "each rank once"),
            ({"user_id": ["1"], "item_id": [1], "rank": [1]}, "user_id must have one type"),
        ],
    )
    def test_bad_frames(self, recommendations: dict[str, list], message: str) -> None:
        relevant = pl.DataFrame({"user_id": [1], "item_id": [1]})
        with pytest.raises(UsageError, match=message):
            metrics.recall_at(pl.DataFrame(recommendations), relevant, k=5)

    def test_bad_numbers(self) -> None:
        recommendations, relevant = draw_ranking(5)
        with pytest.raises(UsageError, match="k must be at least 1"):
            metrics.ndcg_at(recommendations, relevant, k=0)
        with pytest.raises(UsageError, match="catalogue_size"):
            metrics.catalogue_coverage(recommendations, 3, k=5)
