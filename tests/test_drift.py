"""Differences of figures on the same rows, and how far forecasts moved."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.errors import UsageError
from recsys.inference import paired_metrics, probability_metrics
from recsys.metrics import population_stability


def forecasts(seed: int, rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    users, truth = rng.integers(0, 200, rows), rng.beta(1, 8, rows).clip(0.001, 0.999)
    noisy = (truth * np.exp(rng.normal(0, 0.4, rows))).clip(0.001, 0.999)
    return users, rng.random(rows) < truth, truth, noisy


def test_paired_figures_are_the_differences_of_each_and_their_intervals_are_narrower() -> None:
    users, liked, truth, noisy = forecasts(1)
    alone = [
        probability_metrics(users, liked, column, reference_rate=0.1, draws=400, seed=7)
        for column in (truth, noisy)
    ]
    found = paired_metrics(users, liked, truth, noisy, draws=400, seed=7)
    assert set(found) == set(alone[0]) - {"normalized_entropy_vs_reference"}
    for name, one in found.items():
        assert one.value == pytest.approx(alone[0][name].value - alone[1][name].value)
        assert one.low <= one.value <= one.high
        assert one.high - one.low < alone[0][name].high - alone[0][name].low, name
    assert found["normalized_entropy"].high < 0 < found["brier_skill"].low


def test_paired_intervals_are_those_of_users_drawn_one_by_one() -> None:
    users, liked, truth, noisy = forecasts(2, rows=1500)
    found = paired_metrics(users, liked, truth, noisy, draws=2000, seed=0)["log_loss"]
    differences = np.where(liked, np.log(noisy / truth), np.log((1 - noisy) / (1 - truth)))
    by_user = [differences[users == user] for user in np.unique(users)]
    rng = np.random.default_rng(9)
    drawn = [
        np.concatenate([by_user[pick] for pick in rng.integers(0, len(by_user), len(by_user))]).mean()
        for _ in range(2000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    width = high - low
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * width)


def test_a_forecast_less_itself_is_nothing() -> None:
    users, liked, truth, _ = forecasts(3)
    for one in paired_metrics(users, liked, truth, truth, draws=99, seed=0).values():
        assert (one.value, one.low, one.high) == (0, 0, 0)


def test_stability_is_the_symmetrised_divergence_of_the_bins() -> None:
    before, after = np.repeat([1.0, 2.0], [500, 500]), np.repeat([1.0, 2.0], [200, 800])
    shares = (200.5 / 1001, 800.5 / 1001)
    expected = sum((share - 0.5) * np.log(share / 0.5) for share in shares)
    assert population_stability(before, after, bins=2) == pytest.approx(expected)
    assert population_stability(before, after, bins=2) == pytest.approx(
        population_stability(after[::-1], before, bins=5), rel=0.3
    )


def test_stability_of_two_samples_of_one_world_is_small_and_a_shift_is_large() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.beta(1, 9, (2, 20_000))
    assert population_stability(one, other) < 0.003 < 0.25 < population_stability(one, 2 * other)
    # Its mean without a shift is about (bins - 1)(1 / n + 1 / m).
    draws = [population_stability(*rng.random((2, 1000))) for _ in range(300)]
    assert np.mean(draws) == pytest.approx(9 * 2 / 1000, rel=0.15)


@pytest.mark.parametrize(
    ("expected", "actual", "bins", "says"),
    [
        ([], [1.0], 10, "expected must"),
        ([1.0], [np.nan], 10, "actual must"),
        ([1.0], [1.0], 1, "bins must be at least 2, got 1"),
    ],
)
def test_stability_refuses_what_has_none(
    expected: list[float], actual: list[float], bins: int, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        population_stability(expected, actual, bins)
