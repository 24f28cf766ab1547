"""Intervals: slow loops, coverage in clustered worlds, and bits that do not depend on threads."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy.stats import binom, norm
from threadpoolctl import threadpool_limits

from recsys import inference, metrics
from recsys.errors import UsageError
from recsys.inference import Estimate, ratio_of_sums

KEYS = {
    "normalized_entropy",
    "normalized_entropy_vs_reference",
    "log_loss",
    "auc",
    "gauc",
    "uauc",
    "brier_skill",
    "bias",
}


def simulate(rows: int = 3000, users: int = 120, seed: int = 0) -> dict[str, np.ndarray]:
    """Labelled rows of users who differ in how often they press; forecasts tie."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, users, rows)
    truth = 1 / (1 + np.exp(-(rng.normal(-1.5, 1, users)[codes] + rng.normal(0, 1, rows))))
    return {
        "users": codes,
        "liked": rng.random(rows) < truth,
        "will_like": np.clip(truth.round(2), 0.01, 0.99),
    }


def draw_clustered(rng: np.random.Generator, users: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Values around 0 that hang together within a user: intraclass correlation one half."""
    codes = np.repeat(np.arange(users), rng.integers(2, 14, users))
    return rng.normal(0, 1, users)[codes] + rng.normal(0, 1, codes.size), codes


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


def mean_sums(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return inference.user_sums(codes, np.stack([values, np.ones(values.size)], axis=1))


class TestEstimate:
    def test_as_dict_is_json_without_nan(self) -> None:
        found = json.dumps(Estimate(1.0, math.nan, math.inf).as_dict(), allow_nan=False)
        assert json.loads(found) == {"value": 1.0, "low": None, "high": None}


class TestClustered:
    def test_agrees_with_a_slow_loop(self) -> None:
        values, codes = draw_clustered(np.random.default_rng(0))
        total = sum((values[codes == u] - values.mean()).sum() ** 2 for u in np.unique(codes))
        assert_allclose(inference.clustered_standard_error(values, codes), math.sqrt(total) / values.size)

    def test_two_way_agrees_with_a_slow_loop(self) -> None:
        rng = np.random.default_rng(1)
        users, items = rng.integers(0, 30, 500) * 7, rng.integers(0, 9, 500) - 3
        values = rng.normal(size=500) + rng.normal(0, 2, 9)[items + 3]
        residuals = values - values.mean()
        same_user, same_item = users[:, None] == users, items[:, None] == items
        # Rows that share a user or an item: inclusion and exclusion written as one mask.
        variance = (np.outer(residuals, residuals) * (same_user | same_item)).sum() / 500**2
        assert variance > inference.clustered_standard_error(values, users) ** 2
        assert_allclose(inference.two_way_standard_error(values, users, items), math.sqrt(variance))

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(
        hnp.arrays(float, 30, elements=st.floats(-10, 10)),
        hnp.arrays(int, 30, elements=st.integers(0, 4)),
        hnp.arrays(int, 30, elements=st.integers(0, 4)),
    )
    def test_two_way_is_never_below_one_way(self, values, users, items) -> None:
        users[:2] = 0, 1
        one_way = inference.clustered_standard_error(values, users)
        assert inference.two_way_standard_error(values, users, items) >= one_way

    def test_rows_as_their_own_clusters_give_the_textbook_error(self) -> None:
        values = np.random.default_rng(2).normal(size=400)
        found = inference.clustered_standard_error(values, np.arange(400))
        assert_allclose(found, values.std() / math.sqrt(400))
        assert_allclose(inference.two_way_standard_error(values, np.arange(400), np.arange(400)), found)

    def test_one_cluster_has_no_interval(self) -> None:
        found = inference.mean_interval([1.0, 2.0], [5, 5])
        assert found.value == 1.5
        assert math.isnan(found.low)
        assert math.isnan(found.high)

    def test_pairing_cancels_what_both_models_find_hard(self) -> None:
        hard, codes = draw_clustered(np.random.default_rng(3))
        gain = np.random.default_rng(4).normal(0.05, 0.1, hard.size)
        found = inference.paired_difference(hard, hard + gain, codes)
        assert_allclose(found.value, -gain.mean())
        assert_allclose(width(found), width(inference.mean_interval(-gain, codes)))
        assert width(found) < width(inference.mean_interval(hard, codes)) / 5

    def test_items_widen_what_items_share(self) -> None:
        rng = np.random.default_rng(5)
        users, items = rng.integers(0, 200, 2000), rng.integers(0, 10, 2000)
        values = rng.normal(0, 1, 10)[items] + rng.normal(size=2000)
        assert width(inference.mean_interval(values, users, items)) > 2 * width(
            inference.mean_interval(values, users)
        )

    def test_clustered_intervals_cover_where_naive_ones_do_not(self) -> None:
        rng, clustered, naive, runs = np.random.default_rng(6), 0, 0, 400
        for _ in range(runs):
            values, codes = draw_clustered(rng)
            found = inference.mean_interval(values, codes)
            clustered += found.low <= 0 <= found.high
            found = inference.mean_interval(values, np.arange(values.size))
            naive += found.low <= 0 <= found.high
        low, high = binom.ppf([0.005, 0.995], runs, 0.95)
        assert low <= clustered <= high
        assert naive < 0.8 * runs


def draw_residuals(seed: int, common: float, users: int = 60) -> dict[str, np.ndarray]:
    """Two columns that share the first prediction's rest; rows of a user hang together in both."""
    rng = np.random.default_rng(seed)
    left, codes = draw_clustered(rng, users)
    right = draw_clustered(np.random.default_rng(seed), users)[0][rng.permutation(codes.size)]
    y_hat, z_hat = rng.normal(size=(2, codes.size))
    return {
        "y": y_hat + left,
        "y_hat": y_hat,
        "z": z_hat + common * left + right,
        "z_hat": z_hat,
        "users": codes,
    }


class TestGeneralisedCovariance:
    @pytest.mark.parametrize("common", [0.0, 0.5])
    def test_agrees_with_a_slow_loop(self, common: float) -> None:
        drawn = draw_residuals(3, common)
        found = inference.generalised_covariance(**drawn)
        products: dict[int, float] = {}
        squares: dict[int, float] = {}
        for y, y_hat, z, z_hat, user in zip(*drawn.values(), strict=True):
            products[user] = products.get(user, 0.0) + (y - y_hat) * (z - z_hat)
            squares[user] = squares.get(user, 0.0) + (y - y_hat) ** 2
        total, weight = sum(products.values()), sum(squares.values())
        effect = total / weight
        assert_allclose(found.effect.value, effect)
        assert_allclose(found.statistic, total / math.sqrt(sum(one**2 for one in products.values())))
        assert_allclose(found.p_value, 2 * norm.sf(abs(found.statistic)))
        error = math.sqrt(sum((products[u] - effect * squares[u]) ** 2 for u in products)) / weight
        assert_allclose(
            [found.effect.low, found.effect.high],
            [effect - 1.959964 * error, effect + 1.959964 * error],
            rtol=1e-5,
        )

    def test_copying_every_row_changes_nothing(self) -> None:
        drawn = draw_residuals(4, 0.3)
        once = inference.generalised_covariance(**drawn)
        twice = inference.generalised_covariance(**{name: np.tile(one, 2) for name, one in drawn.items()})
        assert_allclose(twice.statistic, once.statistic)
        assert_allclose(list(vars(twice.effect).values()), list(vars(once.effect).values()))

    def test_it_rejects_and_covers_at_its_rates(self) -> None:
        runs, rejected, covered = 400, 0, 0
        for seed in range(runs):
            null = inference.generalised_covariance(**draw_residuals(seed, 0.0))
            rejected += null.p_value < 0.05
            effect = inference.generalised_covariance(**draw_residuals(seed, 0.5)).effect
            covered += effect.low < 0.5 < effect.high
        low, high = binom.ppf([0.001, 0.999], runs, 0.06)
        assert low <= rejected <= high
        assert low <= runs - covered <= high

    def test_nothing_left_has_no_interval(self) -> None:
        assert math.isnan(
            inference.generalised_covariance([1, 0], [1, 0], [1, 0], [0, 0], [1, 2]).effect.value
        )
        for rows in (([1, 0], [0, 0], [1, 0], [1, 0], [1, 2]), ([1, 0], [0, 0], [1, 0], [0, 0], [5, 5])):
            found = inference.generalised_covariance(*rows)
            assert math.isfinite(found.effect.value)
            assert np.isnan([found.effect.low, found.statistic, found.p_value]).all()


class TestDuplicates:
    """Rows that are copied say nothing new."""

    def test_copying_every_row_changes_no_interval(self) -> None:
        values, codes = draw_clustered(np.random.default_rng(7))
        twice, both = np.tile(values, 2), np.tile(codes, 2)
        before, after = inference.mean_interval(values, codes), inference.mean_interval(twice, both)
        assert_allclose([after.low, after.high], [before.low, before.high])
        before = inference.bootstrap_interval(ratio_of_sums, mean_sums(values, codes), 200, seed=0)
        after = inference.bootstrap_interval(ratio_of_sums, mean_sums(twice, both), 200, seed=0)
        assert_allclose([after.low, after.high], [before.low, before.high])

    @pytest.mark.parametrize("seed", range(5))
    def test_copying_some_users_rows_narrows_no_interval(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(400), 5)
        values = (
            np.tile(rng.permutation([-2.0, -1.0, 0.0, 1.0, 2.0]), 400) + rng.choice([-1.0, 1.0], 400)[codes]
        )
        copied = np.isin(codes, rng.permutation(400)[:200])
        twice, both = np.append(values, values[copied]), np.append(codes, codes[copied])
        assert width(inference.mean_interval(twice, both)) > width(inference.mean_interval(values, codes))
        before = inference.bootstrap_interval(ratio_of_sums, mean_sums(values, codes), 1000, seed=0)
        after = inference.bootstrap_interval(ratio_of_sums, mean_sums(twice, both), 1000, seed=0)
        assert width(after) > 0.99 * width(before)

    def test_copying_every_row_changes_no_probability_metric(self) -> None:
        rows = simulate()
        twice = {name: np.tile(column, 2) for name, column in rows.items()}
        before = inference.probability_metrics(**rows, reference_rate=0.2, draws=99, seed=0)
        after = inference.probability_metrics(**twice, reference_rate=0.2, draws=99, seed=0)
        for name in KEYS:
            assert_allclose([after[name].low, after[name].high], [before[name].low, before[name].high])


class TestBootstrap:
    def test_sums_agree_with_a_slow_loop(self) -> None:
        rows = simulate(rows=200, users=20)
        columns = np.stack([rows["will_like"], rows["liked"]], axis=1)
        found = inference.user_sums(rows["users"], columns)
        for place, user in enumerate(np.unique(rows["users"])):
            assert_allclose(found[place], columns[rows["users"] == user].sum(axis=0))

    def test_weights_are_poisson_with_mean_one(self) -> None:
        drawn = inference.bootstrap_sums(np.eye(30), draws=4000, seed=0)
        share = [(drawn == weight).mean() for weight in range(4)]
        assert_allclose(share, [math.exp(-1) / math.factorial(weight) for weight in range(4)], atol=0.01)
        assert np.abs(np.corrcoef(drawn.T) - np.eye(30)).max() < 0.1

    def test_blocks_do_not_show(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sums = np.random.default_rng(8).normal(size=(50, 3))
        whole = inference.bootstrap_sums(sums, draws=101, seed=3)
        monkeypatch.setattr("recsys.inference._bootstrap._WEIGHTS_AT_ONCE", 50 * 7)
        assert_allclose(inference.bootstrap_sums(sums, draws=101, seed=3), whole)

    def test_interval_of_a_mean_agrees_with_the_clustered_error(self) -> None:
        values, codes = draw_clustered(np.random.default_rng(9), users=400)
        normal = inference.mean_interval(values, codes)
        found = inference.bootstrap_interval(ratio_of_sums, mean_sums(values, codes), draws=2000, seed=0)
        assert_allclose(found.value, normal.value)
        assert_allclose(width(found), width(normal), rtol=0.1)

    def test_bias_is_covered_where_likes_hang_together(self) -> None:
        rng, covered, runs = np.random.default_rng(10), 0, 200
        rate = 0.3138298  # of the logistic-normal below, by quadrature
        for run in range(runs):
            users = np.repeat(np.arange(100), 15)
            truth = 1 / (1 + np.exp(-rng.normal(-1, 1.2, 100)))[users]
            liked = rng.random(users.size) < truth
            sums = inference.user_sums(users, np.stack([0.3 - liked, liked], axis=1))
            found = inference.bootstrap_interval(ratio_of_sums, sums, draws=199, seed=run)
            covered += found.low <= 0.3 / rate - 1 <= found.high
        low, high = binom.ppf([0.005, 0.995], runs, 0.95)
        assert low <= covered <= high

    def test_undefined_draws_widen_to_nan(self) -> None:
        rare = np.array([[1.0, 1.0]] + [[0.5, 0.0]] * 20)
        found = inference.bootstrap_interval(ratio_of_sums, rare, draws=200, seed=0)
        assert found.value == 11
        assert math.isnan(found.low)

    def test_one_user_has_no_interval(self) -> None:
        found = inference.bootstrap_interval(lambda totals: totals[..., 0], [[3.0]], draws=200, seed=0)
        assert found.as_dict() == {"value": 3.0, "low": None, "high": None}


class TestBootstrapAuc:
    @staticmethod
    def weighted_auc_slowly(y: np.ndarray, s: np.ndarray, w: np.ndarray) -> float:
        wins = (s[y][:, None] > s[~y]) + 0.5 * (s[y][:, None] == s[~y])
        return float(w[y] @ wins @ w[~y] / (w[y].sum() * w[~y].sum()))

    def test_agrees_with_a_slow_loop_over_the_same_weights(self) -> None:
        rows = simulate(rows=300, users=40)
        users, liked, scores = rows["users"] * 3 + 1, rows["liked"], rows["will_like"]
        present, codes = np.unique(users, return_inverse=True)
        weights = inference.bootstrap_sums(np.eye(present.size), draws=150, seed=4)
        slow = [self.weighted_auc_slowly(liked, scores, draw[codes]) for draw in weights]
        found = inference.bootstrap_auc(users, liked, scores, draws=150, seed=4)
        expected = np.quantile(slow, [0.025, 0.975], method="weibull")
        assert_allclose([found.low, found.high], expected)
        assert_allclose(found.value, sklearn.metrics.roc_auc_score(liked, scores))
        drawn = weights[0][codes]
        oracle = sklearn.metrics.roc_auc_score(liked, scores, sample_weight=drawn)
        assert_allclose(slow[0], oracle)

    def test_one_class_has_no_auc(self) -> None:
        found = inference.bootstrap_auc([1, 2, 3], [0, 0, 0], [0.1, 0.2, 0.3], draws=39, seed=0)
        assert found.as_dict() == {"value": None, "low": None, "high": None}

    def test_interval_grows_with_clustering(self) -> None:
        rows = simulate()
        clustered = inference.bootstrap_auc(rows["users"], rows["liked"], rows["will_like"], 300, seed=0)
        users = np.arange(rows["liked"].size)
        assert width(clustered) > width(
            inference.bootstrap_auc(users, rows["liked"], rows["will_like"], 300, seed=0)
        )


class TestProbabilityMetrics:
    def test_values_are_those_of_metrics(self) -> None:
        rows = simulate(users=600)
        y, p = rows["liked"], rows["will_like"]
        found = inference.probability_metrics(**rows, reference_rate=0.31, draws=199, seed=0)
        users = metrics.user_aucs(**{"scores" if k == "will_like" else k: v for k, v in rows.items()})
        assert users.share_of_rows < 1
        expected = {
            "normalized_entropy": metrics.normalized_entropy(y, p),
            "normalized_entropy_vs_reference": metrics.log_loss(y, p)
            / metrics.log_loss(y, np.full(y.size, 0.31)),
            "log_loss": sklearn.metrics.log_loss(y, p),
            "auc": sklearn.metrics.roc_auc_score(y, p),
            "gauc": metrics.gauc(users),
            "uauc": metrics.uauc(users),
            "brier_skill": metrics.brier_skill(y, p),
            "bias": (p - y).sum() / y.sum(),
        }
        assert set(found) == KEYS
        for name, value in expected.items():
            assert_allclose(found[name].value, value, err_msg=name)
            assert found[name].low < value < found[name].high

    @pytest.mark.parametrize("name", sorted(KEYS - {"auc"}))
    def test_intervals_agree_with_drawing_users_row_by_row(self, name: str) -> None:
        rows = simulate(rows=400, users=40)
        weights = inference.bootstrap_sums(np.eye(40), draws=39, seed=2).astype(int)
        slow = []
        for draw in weights:
            copies = draw[rows["users"]]
            again = {key: np.repeat(column, copies) for key, column in rows.items()}
            # Every copy of a user is a user of its own to GAUC and uAUC.
            copy = np.concatenate([np.arange(count) for count in copies])
            again["users"] = again["users"] * 100 + copy
            slow.append(
                inference.probability_metrics(**again, reference_rate=0.2, draws=39, seed=0)[name].value
            )
        found = inference.probability_metrics(**rows, reference_rate=0.2, draws=39, seed=2)[name]
        assert_allclose([found.low, found.high], np.quantile(slow, [0.025, 0.975], method="weibull"))

    def test_reference_rate_of_the_rows_gives_the_normalized_entropy(self) -> None:
        rows = simulate()
        found = inference.probability_metrics(**rows, reference_rate=rows["liked"].mean(), draws=39, seed=0)
        assert_allclose(found["normalized_entropy_vs_reference"].value, found["normalized_entropy"].value)

    def test_no_like_leaves_nan_and_no_warning(self) -> None:
        found = inference.probability_metrics(
            [1, 2, 3], [0, 0, 0], [0.1, 0.2, 0.3], reference_rate=0.2, draws=39, seed=0
        )
        undefined = {name for name, estimate in found.items() if estimate.as_dict()["value"] is None}
        assert undefined == {"normalized_entropy", "auc", "gauc", "uauc", "brier_skill", "bias"}

    def test_seed_decides(self) -> None:
        rows = simulate(rows=300)
        first, again, other = (
            inference.probability_metrics(**rows, reference_rate=0.2, draws=99, seed=seed)
            for seed in (0, 0, 1)
        )
        assert first == again
        assert all(first[name] != other[name] for name in KEYS)


def test_bits_do_not_depend_on_threads() -> None:
    rng = np.random.default_rng(0)
    sums = rng.normal(size=(27_000, 9))
    rows = simulate(rows=30_000, users=3000)
    items = rng.integers(0, 500, 30_000)

    def compute(threads: int) -> tuple[object, ...]:
        # What OPENBLAS_NUM_THREADS does, without starting Python twice.
        with threadpool_limits(threads, user_api="blas"):
            drawn = inference.bootstrap_sums(sums, draws=100, seed=0).tobytes()
            found = inference.probability_metrics(**rows, reference_rate=0.2, draws=100, seed=0)
            error = inference.two_way_standard_error(rows["will_like"], rows["users"], items)
            corp = metrics.corp_decomposition(rows["liked"], rows["will_like"])
            return drawn, found, error, corp

    assert compute(1) == compute(2)


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: inference.mean_interval([1.0, math.nan], [1, 2]), "values must be finite"),
            (lambda: inference.mean_interval([1.0, 2.0], [1]), "one code for each of the 2 rows"),
            (lambda: inference.mean_interval([], []), "not be empty"),
            (lambda: inference.mean_interval([1.0], [0.5]), "clusters must be integer codes"),
            (lambda: inference.two_way_standard_error([1.0, 2.0], [1, 2], [1]), "items must have one code"),
            (lambda: inference.paired_difference([1.0, 2.0], [1.0], [1, 2]), "same rows, got 2 and 1"),
            (
                lambda: inference.generalised_covariance([1, 0], [0.5], [1, 0], [0, 0], [1, 2]),
                "y and y_hat must have the same rows, got 2 and 1",
            ),
            (
                lambda: inference.generalised_covariance([1, 0], [0, 0], [1], [0], [1, 2]),
                "y and z must have the same rows, got 2 and 1",
            ),
            (lambda: inference.user_sums([1], [1.0]), "2 dimension"),
            (lambda: inference.bootstrap_sums([[math.inf]], 10, seed=0), "must be finite"),
            (lambda: inference.bootstrap_sums([[1.0]], 0, seed=0), "draws must be at least 1"),
            (lambda: inference.bootstrap_interval(ratio_of_sums, [[1.0, 1.0]], 38, seed=0), "at least 39"),
            (
                lambda: inference.bootstrap_auc([1], [0, 1], [0.1, 0.2], 39, seed=0),
                "users must have one code",
            ),
        ],
    )
    def test_bad_calls(self, call, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            call()

    @pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
    def test_bad_reference_rate(self, rate: float) -> None:
        with pytest.raises(UsageError, match="reference_rate"):
            inference.probability_metrics([1, 2], [0, 1], [0.1, 0.2], reference_rate=rate, draws=39, seed=0)
