"""Heads and calibrators against scikit-learn and scipy.optimize, and what they must not do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from recsys.config import ModelSettings
from recsys.errors import DataError
from recsys.matrix import one_blas_thread
from recsys.probability import (
    BetaCalibrator,
    BoostedHead,
    Lessons,
    LogisticHead,
    ProbabilityHead,
    clustered_covariance,
    fit_beta_calibrator,
    fit_logistic,
    fit_probability_head,
)
from recsys.probability._logistic import Design

Vector = NDArray[np.float64]
RIDGE = 0.01  # of the calibrator, towards a = b = 1


@pytest.fixture(autouse=True, scope="module")
def _fast_oracles() -> Iterator[None]:
    with one_blas_thread():
        yield


def draw(seed: int, rows: int = 3000, rate: float = -2.0) -> tuple[Vector, NDArray[np.bool_]]:
    """Draw features of very different scales, one of them constant, and labels that follow two of them."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 5)) * [1, 100, 0.01, 1, 0] + [0, 500, 3, -2, 0.3]
    return features, rng.random(rows) < expit(rate + features[:, 0] + 60 * (features[:, 2] - 3))


def names(features: Vector) -> list[str]:
    return [f"x{column}" for column in range(features.shape[1])]


def plain(names: tuple[str, ...], weights: Vector, intercept: float) -> LogisticHead:
    """A head that holds nothing back."""
    wide = np.full(len(names), np.inf)
    return LogisticHead(names, weights, intercept, -wide, wide, np.zeros(len(names)))


def fit(
    features: Vector, liked: NDArray[np.bool_], users: NDArray[np.int32], settings: ModelSettings
) -> ProbabilityHead:
    lessons = Lessons(features, liked, users, names(features), np.ones(len(liked)))
    return fit_probability_head(lessons, settings)


def log_loss(p: Vector, liked: NDArray[np.bool_]) -> float:
    return float(-np.mean(np.where(liked, np.log(p), np.log1p(-p))))


class TestLogistic:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("l2", [0.01, 10.0, 1e4])
    def test_equals_scikit_learn(self, seed: int, l2: float) -> None:
        features, liked = draw(seed)
        scale = np.maximum(features.std(axis=0), 0.1)
        standardised = (features - features.mean(axis=0)) / scale
        oracle = LogisticRegression(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=500)
        oracle.fit(standardised, liked)
        found = fit_logistic(features, liked, names(features), l2)
        np.testing.assert_allclose(
            found.logit(features), oracle.decision_function(standardised), rtol=1e-6, atol=1e-6
        )

    @pytest.mark.parametrize("scale", [1.0, 1e6])
    def test_converges_on_separable_labels(self, scale: float) -> None:
        features = np.linspace(-scale, scale, 400)[:, None]
        liked = features[:, 0] > 0.6 * scale
        found = fit_logistic(features, liked, ["x"], l2=1e-6)
        assert np.isfinite([*found.weights, found.intercept]).all()
        assert ((found.logit(features) > 0) == liked).all()
        # At the optimum the intercept, which is free, makes the total exact.
        assert expit(found.logit(features)).sum() == pytest.approx(liked.sum(), rel=1e-3)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-9])
    def test_feature_that_hardly_varied_may_move_without_harm(self, seed: int, spread: float) -> None:
        rng = np.random.default_rng(seed)
        features, liked = draw(seed)
        features[:, 4] = 0.3 + spread * rng.normal(size=3000)
        found = fit_logistic(features, liked, names(features), 10.0)
        assert abs(found.weights[4]) < 0.5

    @pytest.mark.parametrize("value", [0.3, -7.1, 0.0, 1e6 / 3])
    def test_feature_that_never_varied_weighs_nothing(self, value: float) -> None:
        features, liked = draw(0)
        features[:, 4] = value
        found = fit_logistic(features, liked, names(features), 1.0)
        assert abs(found.weights[4]) < 1e-9

    def test_without_features_it_is_the_base_rate(self) -> None:
        liked = np.arange(10) < 3
        found = fit_logistic(np.empty((10, 0)), liked, [], 1.0)
        np.testing.assert_allclose(found.logit(np.empty((4, 0))), logit(0.3))

    def test_log_odds_of_a_row_do_not_depend_on_the_others(self) -> None:
        rng = np.random.default_rng(0)
        features, head = rng.normal(size=(701, 17)), plain(tuple("x" * 17), rng.normal(size=17), 0.1)
        every = head.logit(features)
        assert (
            np.concatenate([head.logit(features[i : i + 1]) for i in range(701)]).tobytes() == every.tobytes()
        )
        assert head.logit(np.asfortranarray(features)).tobytes() == every.tobytes()

    def test_threads_change_no_byte(self) -> None:
        features, liked = draw(0, rows=20_000)
        users = np.arange(20_000, dtype=np.int32) // 10
        found = []
        for threads in (1, 2):
            with threadpool_limits(threads, user_api="blas"):
                found.append(fit(features, liked, users, ModelSettings()))
        assert found[0].head.weights.tobytes() == found[1].head.weights.tobytes()
        assert found[0].calibrator == found[1].calibrator

    def test_many_rows_are_taken_in_pieces(self, monkeypatch: pytest.MonkeyPatch) -> None:
        features, liked = draw(0)
        rows = np.flatnonzero(np.arange(len(liked)) % 5)
        weights = np.where(rows % 2, 1.0, 0.5)
        whole = fit_logistic(features[rows], liked[rows], names(features), 3.0, weights)
        monkeypatch.setattr("recsys.probability._newton._ROWS_AT_ONCE", 100)
        monkeypatch.setattr("recsys.probability._logistic._PIECE", 70)
        weighed = np.where(np.arange(len(liked)) % 2, 1.0, 0.5)
        design = Design.of(features, liked, names(features), weighed, rows)
        pieces = [design.fit(3.0, threads=threads) for threads in (1, 3)]
        for name in ("weights", "intercept", "lows", "highs", "means"):
            np.testing.assert_allclose(getattr(pieces[0], name), getattr(whole, name), rtol=1e-8, atol=1e-12)
        assert pieces[0].weights.tobytes() == pieces[1].weights.tobytes()


def calibrator_loss(abc: Vector, x: Vector, liked: NDArray[np.bool_], ridge: float = RIDGE) -> float:
    a, b, c = abc
    z = a * log_expit(x) - b * log_expit(-x) + c
    return float(-log_expit(np.where(liked, z, -z)).sum() + ridge / 2 * ((a - 1) ** 2 + (b - 1) ** 2))


def standard_errors(x: Vector, p: Vector) -> Vector:
    inputs = np.column_stack([log_expit(x), -log_expit(-x), np.ones(len(x))])
    return np.sqrt(np.diag(np.linalg.inv((inputs * (p * (1 - p))[:, None]).T @ inputs)))


class TestBetaCalibrator:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(("a", "b", "c"), [(1, 1, 0), (0.6, 1.4, 0.3), (1.8, 0.5, -1), (1, 0, 0)])
    def test_recovers_a_planted_distortion(self, seed: int, a: float, b: float, c: float) -> None:
        rng = np.random.default_rng(seed)
        x = rng.normal(-1, 1.5, 30_000)
        p = BetaCalibrator(a, b, c).apply(x)
        found = fit_beta_calibrator(x, rng.random(30_000) < p)
        assert (np.abs(np.array([found.a, found.b, found.c]) - [a, b, c]) < 4 * standard_errors(x, p)).all()
        np.testing.assert_allclose(found.apply(x).mean(), p.mean(), rtol=0.05)

    def test_identity_changes_nothing(self) -> None:
        x = np.linspace(-15, 15, 99)
        np.testing.assert_allclose(BetaCalibrator(1, 1, 0).apply(x), expit(x), rtol=1e-12)

    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("slope", [1.0, 0.05, 0.0, -0.05, -1.0])
    def test_equals_a_bounded_fit_by_scipy(self, seed: int, slope: float) -> None:
        rng = np.random.default_rng(seed)
        x = rng.normal(-1, 1, 600)
        liked = rng.random(600) < expit(slope * x - 1)
        found = fit_beta_calibrator(x, liked)
        oracle = min(
            minimize(
                calibrator_loss, start, (x, liked), "L-BFGS-B", bounds=[(0, None), (0, None), (None, None)]
            ).fun
            for start in ([1, 1, 0], [0, 1, 0], [1, 0, 0])
        )
        assert min(found.a, found.b) >= 0
        assert calibrator_loss(np.array([found.a, found.b, found.c]), x, liked) < oracle + 1e-6

    @pytest.mark.parametrize("seed", range(3))
    def test_keeps_the_order(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x = np.sort(rng.normal(0, 3, 500))
        found = fit_beta_calibrator(x, rng.random(500) < expit(rng.normal() * x))
        assert (np.diff(found.apply(x)) >= 0).all()

    @pytest.mark.parametrize("x", [-4.0, 0.0, 2.0])
    def test_constant_head_becomes_the_base_rate(self, x: float) -> None:
        liked = np.arange(1000) < 130
        found = fit_beta_calibrator(np.full(1000, x), liked)
        np.testing.assert_allclose(found.apply(np.array([x])), 0.13, rtol=1e-4)

    def draw(
        self, seed: int, users: int = 400, spread: float = 0.7
    ) -> tuple[Vector, NDArray[np.bool_], Vector]:
        """Draw rows of users who differ in what the head does not know: logits, likes, users."""
        rng = np.random.default_rng(seed)
        user = np.sort(rng.integers(users, size=8_000))
        x = rng.normal(-2.0, 1.2, 8_000)
        known = 0.8 * log_expit(x) - 1.3 * log_expit(-x) - 0.2
        return x, rng.random(8_000) < expit(known + spread * rng.normal(size=users)[user]), user

    def test_covariance_is_that_of_refits_on_weighted_users(self) -> None:
        x, liked, user = self.draw(seed=1)
        found = fit_beta_calibrator(x, liked)
        covariance = clustered_covariance(found, x, liked, user)
        rng, refits = np.random.default_rng(2), []
        for _ in range(300):
            rows = np.repeat(np.arange(len(x)), rng.poisson(1.0, 400)[user])
            refits.append(fit_beta_calibrator(x[rows], liked[rows]))
        for value in (-5.0, -2.0, 0.0, 1.0):
            inputs = np.array([log_expit(value), -log_expit(-value), 1.0])
            spread = np.std([inputs @ [one.a, one.b, one.c] for one in refits])
            assert np.sqrt(inputs @ covariance @ inputs) == pytest.approx(spread, rel=0.15)

    def test_interval_covers_what_the_calibrator_estimates(self) -> None:
        """With clusters, 95 times in 100; with every row a cluster of its own, less often."""
        grid, inside = np.array([-4.0, -2.0, 0.0]), {"user": 0, "row": 0}
        x, liked, _ = (
            np.concatenate(part) for part in zip(*(self.draw(seed) for seed in range(60)), strict=True)
        )
        target = fit_beta_calibrator(x, liked).apply(grid)
        for seed in range(100, 200):
            x, liked, user = self.draw(seed, users=80)
            found = fit_beta_calibrator(x, liked)
            for name, clusters in {"user": user, "row": np.arange(len(x))}.items():
                bounds = replace(found, covariance=clustered_covariance(found, x, liked, clusters)).interval(
                    grid
                )
                inside[name] += ((bounds.low < target) & (target < bounds.high)).sum()
        assert 0.90 * 300 < inside["user"] < 0.98 * 300
        assert inside["row"] < 0.85 * 300

    def test_copying_every_row_does_not_narrow_the_interval(self) -> None:
        x, liked, user = self.draw(seed=3)
        found = fit_beta_calibrator(x, liked)
        once = clustered_covariance(found, x, liked, user)
        twice = clustered_covariance(found, np.tile(x, 2), np.tile(liked, 2), np.tile(user, 2))
        np.testing.assert_allclose(once, twice, rtol=1e-3)

    def test_what_is_held_at_its_bound_does_not_vary(self) -> None:
        x, liked, user = self.draw(seed=4)
        covariance = np.array(clustered_covariance(BetaCalibrator(0.0, 1.0, 0.0), x, liked, user))
        assert not covariance[0].any()
        assert not covariance[:, 0].any()
        assert np.all(np.diag(covariance)[1:] > 0)

    def test_interval_of_exact_parameters_is_a_point(self) -> None:
        bounds = BetaCalibrator(1, 2, 0.5).interval(np.array([-3.0, 0.0]))
        assert np.array_equal(bounds.low, bounds.high)
        assert np.array_equal(bounds.low, BetaCalibrator(1, 2, 0.5).apply(np.array([-3.0, 0.0])))

    @pytest.mark.parametrize("calibrator", [(1, 1, 0), (0, 2, 1), (3, 0, -1), (0, 0, 0)])
    def test_probabilities_stay_inside_whatever_the_log_odds(
        self, calibrator: tuple[float, float, float]
    ) -> None:
        extremes = np.array([-1e6, -800, -40, 0, 40, 800, 1e6])
        p = BetaCalibrator(*calibrator).apply(extremes)
        assert np.isfinite(p).all()
        assert ((p > 0) & (p < 1)).all()
        assert ((p.astype(np.float32) > 0) & (p.astype(np.float32) < 1)).all()


class TestProbabilityHead:
    SETTINGS = ModelSettings(l2=0.1)

    def test_is_head_then_calibrator(self) -> None:
        features, _ = draw(0, rows=50)
        head = ProbabilityHead(plain(tuple("abcde"), np.arange(5.0), 2.0), BetaCalibrator(2, 0.5, -1), 0.1)
        p = expit(features @ np.arange(5.0) + 2.0)
        with np.errstate(divide="ignore"):
            z = 2 * np.log(p) - 0.5 * np.log1p(-p) - 1
        np.testing.assert_allclose(head.predict(features), np.clip(expit(z), 1e-7, 1 - 1e-7), rtol=1e-9)

    def test_serving_head_is_fitted_on_all_rows(self) -> None:
        features, liked = draw(0)
        users = np.arange(3000, dtype=np.int32) % 100
        found = fit(features, liked, users, self.SETTINGS)
        everything = fit_logistic(features, liked, names(features), 0.1)
        np.testing.assert_allclose(found.head.weights, everything.weights)
        assert found.head.names == tuple(names(features))

    @pytest.mark.parametrize("seed", range(3))
    def test_calibrator_sees_only_users_the_head_did_not(self, seed: int) -> None:
        # Features tell users apart and nothing else; habits differ, so a head knows the users it saw by heart.
        rng = np.random.default_rng(seed)
        users = np.repeat(np.arange(150, dtype=np.int32), 20)
        marks, habit = rng.normal(size=(300, 60)), rng.normal(-1, 2, 300)
        liked = rng.random(3000) < expit(habit[users])
        head = fit(marks[users], liked, users, self.SETTINGS)
        raw = expit(head.head.logit(marks[150:]))
        truth = expit(habit[150:])
        cross = [
            np.mean(-truth * np.log(p) - (1 - truth) * np.log1p(-p)) for p in (head.predict(marks[150:]), raw)
        ]
        rate = truth.mean()
        entropy = -rate * np.log(rate) - (1 - rate) * np.log1p(-rate)
        assert cross[0] < 1.04 * entropy
        assert cross[1] > 1.1 * entropy

    def test_codes_of_the_users_do_not_matter_while_their_order_stays(self) -> None:
        features, liked = draw(1)
        users = np.arange(3000, dtype=np.int32) % 70
        found = [fit(features, liked, codes, self.SETTINGS) for codes in (users, users * 1000 + 5)]
        assert found[0].calibrator == found[1].calibrator

    @pytest.mark.parametrize("label", [True, False])
    def test_one_label_is_refused(self, label: bool) -> None:
        with pytest.raises(DataError, match="liked and unliked exposures"):
            fit(np.ones((9, 1)), np.full(9, label), np.arange(9, dtype=np.int32), self.SETTINGS)

    @pytest.mark.parametrize(("alone", "told"), [(True, "1 have a liked .* 9 an"), (False, "9 have .* 1 an")])
    def test_a_label_of_a_single_user_cannot_be_held_out(self, alone: bool, told: str) -> None:
        users = np.arange(100, dtype=np.int32) // 10
        with pytest.raises(DataError, match=f"a fold of 5: of 10 .* {told} .*lengthen windows.calibrate"):
            fit(np.ones((100, 1)), (users == 3) == alone, users, self.SETTINGS)


def test_a_head_does_not_extrapolate_to_what_is_newer_than_all_it_was_fitted_on() -> None:
    rng = np.random.default_rng(3)
    counts = rng.uniform(2, 4, 4_000)
    liked = rng.random(4_000) < 1 / (1 + np.exp(counts))
    head = fit_logistic(counts[:, None], liked, ["item_id:ln_exposures"], 1.0)
    never_shown, least_shown, most_shown = head.logit(np.array([[-5.0], [counts.min()], [4.0]]))
    assert never_shown == least_shown > most_shown


def test_evidence_is_taken_at_face_value_where_there_is_little_to_learn_from() -> None:
    rng = np.random.default_rng(0)
    evidence, other = rng.normal(size=(2, 400))
    liked = rng.random(400) < expit(evidence - 2)
    held = fit_logistic(np.column_stack([evidence, other]), liked, ["appeal:liked", "dot:liked"], 1e9)
    np.testing.assert_allclose(held.weights, [1, 0], atol=1e-4)
    free = fit_logistic(np.column_stack([evidence, other]), liked, ["appeal:liked", "dot:liked"], 1e-6)
    plain_fit = fit_logistic(np.column_stack([evidence, other]), liked, ["x", "y"], 1e-6)
    np.testing.assert_allclose(free.weights, plain_fit.weights, atol=1e-4)


def test_weights_count_rows() -> None:
    features, liked = draw(2, rows=900)
    times = np.random.default_rng(0).integers(1, 4, 900)
    weighed = fit_logistic(features, liked, names(features), 1.0, times.astype(float))
    copied = fit_logistic(features.repeat(times, axis=0), liked.repeat(times), names(features), 1.0)
    np.testing.assert_allclose(weighed.logit(features), copied.logit(features), rtol=1e-6)


@pytest.fixture(scope="module")
def rows() -> tuple[Vector, NDArray[np.bool_], NDArray[np.int32]]:
    """Likes that follow an exclusive or: no weight on either feature says anything."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(6000, 3))
    liked = rng.random(6000) < np.where((features[:, 0] > 0) ^ (features[:, 1] > 0), 0.5, 0.05)
    return features, liked, np.arange(6000, dtype=np.int32) // 10


@pytest.fixture(scope="module")
def boosted(rows: tuple[Vector, NDArray[np.bool_], NDArray[np.int32]]) -> ProbabilityHead:
    return fit(*rows, ModelSettings(head="gbm"))


class TestBoosted:
    SETTINGS = ModelSettings(head="gbm")

    def test_sees_what_no_sum_of_features_says(
        self, rows: tuple[Vector, NDArray[np.bool_], NDArray[np.int32]], boosted: ProbabilityHead
    ) -> None:
        features, liked, users = rows
        logistic = fit(features, liked, users, ModelSettings())
        assert log_loss(boosted.predict(features), liked) < 0.85 * log_loss(logistic.predict(features), liked)

    def test_auto_takes_the_better_one(
        self, rows: tuple[Vector, NDArray[np.bool_], NDArray[np.int32]]
    ) -> None:
        assert isinstance(fit(*rows, ModelSettings(head="auto")).head, BoostedHead)
        features, users = rows[0], rows[2]
        liked = np.random.default_rng(1).random(len(users)) < expit(features.sum(axis=1) - 2)
        assert isinstance(fit(features, liked, users, ModelSettings(head="auto")).head, LogisticHead)

    @pytest.mark.parametrize("kind", ["gbm", "auto"])
    def test_without_features_it_is_the_like_rate(
        self, rows: tuple[Vector, NDArray[np.bool_], NDArray[np.int32]], kind: Literal["gbm", "auto"]
    ) -> None:
        features, liked, users = rows
        told = fit(features[:, :0], liked, users, ModelSettings(head=kind)).predict(features[:, :0])
        assert told == pytest.approx(np.full(len(liked), liked.mean()), rel=1e-3)

    def test_contributions_add_up_and_text_is_all_there_is(
        self, rows: tuple[Vector, NDArray[np.bool_], NDArray[np.int32]], boosted: ProbabilityHead
    ) -> None:
        features = rows[0][:200]
        head = boosted.head
        assert isinstance(head, BoostedHead)
        split = head.contributions(features)
        np.testing.assert_allclose(split.base + split.parts.sum(axis=1), head.logit(features), atol=1e-9)
        again = BoostedHead(head.names, head.text)
        assert again.logit(features).tobytes() == head.logit(features).tobytes()
        assert "num_threads" not in head.text

    def test_threads_change_no_byte(
        self, rows: tuple[Vector, NDArray[np.bool_], NDArray[np.int32]], boosted: ProbabilityHead
    ) -> None:
        features, liked, users = rows
        lessons = Lessons(features, liked, users, names(features), np.ones(len(liked)))
        assert all(fit_probability_head(lessons, self.SETTINGS, threads=n) == boosted for n in (1, 2))


def test_contributions_of_a_logistic_head_add_up() -> None:
    features, liked = draw(0)
    head = fit_logistic(features, liked, names(features), 10.0)
    split = head.contributions(features)
    np.testing.assert_allclose(split.base + split.parts.sum(axis=1), head.logit(features), atol=1e-9)
    assert split.parts.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-9)


@pytest.mark.parametrize("kept", [0.05, 0.5])
def test_sampled_negatives_are_put_back(kept: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=60_000)
    truth = expit(x - 3)
    liked = rng.random(60_000) < truth
    logged = liked | (rng.random(60_000) < kept)
    users = np.arange(60_000, dtype=np.int32)[logged] // 5
    lessons = Lessons(x[logged][:, None], liked[logged], users, ["x"], np.ones(int(logged.sum())))
    head = fit_probability_head(lessons, ModelSettings(), negatives_kept=kept)
    order = head.head.logit(x[:, None])
    assert head.will_like(order).mean() == pytest.approx(truth.mean(), rel=0.03)
    assert head.predict(x[logged][:, None]).mean() == pytest.approx(liked[logged].mean(), rel=0.01)
    bounds = head.interval(order)
    assert (bounds.low <= head.will_like(order)).all()
    assert (head.will_like(order) <= bounds.high).all()
