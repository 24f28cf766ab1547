"""Effects, affinities and recency, against independent formulas and loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, gammaln, logit
from scipy.stats import betabinom

from recsys.config import ModelSettings
from recsys.events import EventLog
from recsys.factors import Factors
from recsys.features import Snapshots, fit_precision, shrunk_effects
from recsys.features._recency import exposures_since, late_tastes, trends
from recsys.matrix import one_blas_thread
from recsys.model._lessons import collect_lessons
from recsys.split import Window, known_before, roll_cuts

Day = Callable[[float], datetime]


@pytest.fixture(autouse=True, scope="module")
def _fast_optimiser() -> Iterator[None]:
    with one_blas_thread():
        yield


def draw_counts(seed: int, precision: float) -> tuple[NDArray[np.float64], ...]:
    """Draw successes around known means."""
    rng = np.random.default_rng(seed)
    trials, mean = rng.integers(1, 60, 3000), expit(rng.normal(-2, 1, 3000))
    rate = rng.beta(precision * mean, precision * (1 - mean))
    return rng.binomial(trials, rate).astype(float), trials.astype(float), mean


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("precision", [2.0, 20.0])
def test_precision_is_the_likeliest_and_near_the_truth(seed: int, precision: float) -> None:
    successes, trials, mean = draw_counts(seed, precision)

    def loss(ln_s: float) -> float:
        s = np.exp(ln_s)
        return -float(betabinom.logpmf(successes, trials, s * mean, s * (1 - mean)).sum())

    oracle = np.exp(minimize_scalar(loss, bounds=(-3, 8), method="bounded").x)
    found = fit_precision(successes, trials, mean)
    assert found == pytest.approx(oracle, rel=1e-2)
    assert found == pytest.approx(precision, rel=0.2)


@pytest.mark.parametrize("unit", [1.0, 1.5], ids=["whole", "weighted"])
@pytest.mark.parametrize("most", [5, 60, 2000])
def test_precision_of_few_or_many_or_weighted_trials_is_that_of_the_gamma_functions(
    most: int, unit: float
) -> None:
    rng = np.random.default_rng(most)
    whole, mean = rng.integers(1, most, 4000), expit(rng.normal(-2, 1, 4000))
    successes = unit * rng.binomial(whole, rng.beta(6 * mean, 6 * (1 - mean)))
    trials = unit * whole

    def loss(ln_s: float) -> float:
        a, b = np.exp(ln_s) * mean, np.exp(ln_s) * (1 - mean)
        parts = (
            gammaln(successes + a), gammaln(trials - successes + b), -gammaln(trials + a + b),
            -gammaln(a), -gammaln(b), gammaln(a + b),
        )  # fmt: skip
        return -float(np.sum(parts))

    oracle = minimize_scalar(loss, bounds=(-5, 14), method="bounded").x
    assert np.log(fit_precision(successes, trials, mean)) == pytest.approx(oracle, abs=1e-4)


def test_effects_are_posterior_means_beside_what_was_expected() -> None:
    successes, trials, mean = draw_counts(3, 5.0)
    s = fit_precision(successes, trials, mean)
    posterior = (successes + s * mean) / (trials + s)
    found = shrunk_effects(successes, trials, mean * trials)
    np.testing.assert_allclose(found, logit(posterior) - logit(mean), rtol=1e-6, atol=1e-9)


def test_what_was_never_tried_and_what_does_not_differ_has_no_effect() -> None:
    rng = np.random.default_rng(0)
    trials = np.append(rng.integers(5, 50, 2000), 0).astype(float)
    successes = np.append(rng.binomial(trials[:-1].astype(int), 0.1), 0).astype(float)
    found = shrunk_effects(successes, trials, 0.1 * trials)
    assert found[-1] == 0
    assert np.abs(found).max() < 0.15


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_label_leaves_finite_effects(label: float) -> None:
    trials = np.array([1.0, 5.0, 40.0])
    assert np.isfinite(shrunk_effects(label * trials, trials, label * trials)).all()


def test_exposures_since_counts_the_same_users_later_rows() -> None:
    users = np.random.default_rng(0).integers(0, 7, 200).astype(np.int32)
    expected = [int((users[place + 1 :] == user).sum()) for place, user in enumerate(users)]
    assert exposures_since(users, 9).tolist() == expected


def test_trend_is_zero_for_all_items_when_nothing_changes() -> None:
    items = np.tile(np.arange(5, dtype=np.int32), 40)
    weights = np.repeat(0.5 ** np.arange(40), 5)
    np.testing.assert_allclose(trends(items, weights, 6), 0, atol=1e-12)
    rising = np.where(items == 0, np.arange(200) >= 100, True)
    found = trends(items[rising], weights[::-1][rising], 6)
    assert found[0] > 0 > found[1:5].max()


def test_taste_is_the_weighted_mean_of_similarities() -> None:
    rng = np.random.default_rng(0)
    factors = Factors(np.zeros((3, 4), np.float32), rng.normal(size=(6, 4)).astype(np.float32))
    users, items = np.array([0, 0, 2], np.int32), np.array([1, 4, 5], np.int32)
    unit = factors.item_factors / np.linalg.norm(factors.item_factors, axis=1, keepdims=True)
    found = late_tastes(users, items, np.array([1.0, 0.5, 1.0]), factors)
    by_hand = (1.0 * unit[1] @ unit[3] + 0.5 * unit[4] @ unit[3]) / 2.5
    everyone, item = np.arange(3, dtype=np.int32), np.full(3, 3, np.int32)
    expected = [by_hand, 0, unit[5] @ unit[3] / 2]
    np.testing.assert_allclose(found.scores(everyone, item), expected, rtol=1e-5, atol=1e-7)


def tally(
    codes: NDArray[np.int64], liked: NDArray[np.float64], p: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Count likes, exposures and expected likes with a loop; -1 is nobody."""
    counts = np.zeros((codes.max() + 1, 3))
    for code, y, expected in zip(codes, liked, p, strict=True):
        if code >= 0:
            counts[code] += (y, 1, expected)
    return counts


def test_effects_are_estimated_one_given_the_others(log: EventLog, small: ModelSettings, day: Day) -> None:
    snapshot = Snapshots(log, small, threads=1).at(day(8))
    known = known_before(log.exposures, day(8))
    users, items = (snapshot.entities[kind].index.codes(known[kind]) for kind in ("user_id", "item_id"))
    liked = known["liked"].to_numpy().astype(float)
    categories, creators = (snapshot.links[kind][items] for kind in ("category", "creator_id"))
    codes = {"user_id": users, "category": categories, "creator_id": creators, "item_id": items}
    log_odds = np.full(len(liked), logit((liked.sum() + 0.5) / (len(liked) + 1)))
    for kind, places in codes.items():
        effects = np.append(shrunk_effects(*tally(places, liked, expit(log_odds)).T), 0.0)
        found = snapshot.entities[kind].effects[:, 0]
        np.testing.assert_allclose(found[:-1], effects[:-1], rtol=1e-3, atol=1e-4)
        log_odds += effects[places]
    others = len(snapshot.entities["category"].index)
    keys = np.where(categories >= 0, users * others + categories, -1)
    expected = shrunk_effects(*tally(keys, liked, expit(log_odds)).T)
    found = snapshot.affinities["category"].of(users, categories)[:, 0]
    np.testing.assert_allclose(found, np.where(keys >= 0, expected[keys], 0), rtol=1e-3, atol=1e-4)


def test_nobody_has_no_affinity(log: EventLog, small: ModelSettings, day: Day) -> None:
    met = Snapshots(log, small, threads=1).at(day(8)).affinities["category"]
    assert not met.of(np.array([-1, 0], np.int32), np.array([0, -1], np.int32)).any()


def test_new_items_have_the_appeal_of_their_creator(log: EventLog, small: ModelSettings, day: Day) -> None:
    snapshot = Snapshots(log, small, threads=1).at(day(8))
    creators = snapshot.entities["creator_id"]
    ids = pl.Series([creators.index.ids[0], -9], dtype=pl.Int32)
    pairs = pl.DataFrame({"user_id": [-9, -9], "item_id": [-9, -9], "creator_id": ids})
    appeal = snapshot.names.index("appeal:liked")
    found = snapshot.pair_features(snapshot.place(pairs))[:, appeal]
    assert found.tolist() == [creators.effects[0, 0], 0.0]


def test_a_user_and_an_item_meet_in_the_product_of_what_each_adds(
    log: EventLog, small: ModelSettings, day: Day
) -> None:
    snapshot = Snapshots(log, small, threads=1).at(day(8))
    seen = known_before(log.exposures, day(8)).select("user_id", "item_id")
    nobody = pl.DataFrame({"user_id": [-9, seen["user_id"][0]], "item_id": [seen["item_id"][0], -9]})
    pairs = pl.concat([seen, nobody.cast(dict(seen.schema))])
    places = snapshot.place(pairs).places
    late = snapshot.entities["user_id"]
    of_user = late.values[places["user_id"], late.names.index("lately:liked")]
    kinds = ("item_id", "creator_id", "category")
    of_item = sum(snapshot.entities[kind].effects[places[kind], 0] for kind in kinds)
    found = snapshot.pair_features(snapshot.place(pairs))[:, snapshot.names.index("lately_by_appeal")]
    np.testing.assert_allclose(found, of_user * of_item, rtol=1e-12, atol=1e-12)
    assert found[:-2].any()
    assert not found[-2:].any()


def test_exposures_seen_from_several_cuts_weigh_as_one(log: EventLog, small: ModelSettings, day: Day) -> None:
    window = Window(day(6), day(6), day(9))
    snapshots = Snapshots(log, small, threads=1)
    signals = snapshots.at(day(6)).outcomes[1:]
    lessons = collect_lessons(snapshots, window, lambda name: True, signals)
    inside = pl.col("timestamp").is_between(day(6), day(9), closed="left") & ~pl.col("history_only")
    rows = log.exposures.filter(inside)
    assert lessons.weights.sum() == pytest.approx(len(rows))
    assert (lessons.weights * lessons.liked).sum() == pytest.approx(rows["liked"].sum())
    assert [one.start for one in roll_cuts(window, 3)] == [day(6), day(7), day(8)]
    last, late = snapshots.at(day(8), signals), rows.filter(pl.col("timestamp") >= day(8))
    np.testing.assert_array_equal(lessons.features[-len(late) :], last.pair_features(last.place(late)))


def test_of_many_exposures_a_head_learns_from_a_sample_in_their_order(
    log: EventLog, small: ModelSettings, day: Day
) -> None:
    window, use = Window(day(6), day(6), day(9)), lambda name: True
    snapshots = Snapshots(log, small.model_copy(update={"cuts": 1}), threads=1)
    signals = snapshots.at(day(6)).outcomes[1:]
    everything = collect_lessons(snapshots, window, use, signals)
    fewer = replace(snapshots, settings=snapshots.settings.model_copy(update={"head_rows": 300}))
    some = collect_lessons(fewer, window, use, signals)
    assert len(everything.liked) > 600
    assert len(some.liked) == 300
    # Rows of the whole, one after the other, none twice.
    place = 0
    for row in some.features:
        place += int(np.flatnonzero((everything.features[place:] == row).all(axis=1))[0]) + 1
    assert some.liked.mean() == pytest.approx(everything.liked.mean(), abs=4 * (0.25 / 300) ** 0.5)
    assert not np.array_equal(some.features, everything.features[:300])
