"""Laws of the segments: a loop finds the same, planted biases are marked, calibrated ones hardly ever."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from recsys.errors import UsageError
from recsys.evaluation import Scored, count_forecasts, score_days, score_segments
from recsys.inference import mark_discoveries, segment_biases
from recsys.metrics import log_losses

FIGURES = ["bias", "bias_low", "bias_high", "p_value"]


def draw(seed: int, users: int = 300, segments: int = 10) -> tuple[NDArray[np.int64], ...]:
    """Rows of users with a habit that the forecast knows, in segments of unequal size."""
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, users, 12 * users))
    habit = rng.beta(0.5, 6, users)[user].clip(0.005, 0.9)
    segment = rng.choice(segments, user.size, p=rng.dirichlet(np.full(segments, 3.0)))
    return segment, user, rng.random(user.size) < habit, habit


class Loops:
    """The same test of one segment, tried at a fine grid of biases instead of solved."""

    def __init__(self, user: list[int], liked: list[bool], p: list[float]) -> None:
        self.rows = list(zip(user, liked, p, strict=True))
        self.likes, self.expected = sum(liked), sum(p)

    def clustered(self, times: float) -> float:
        off: dict[int, float] = {}
        for one, label, forecast in self.rows:
            off[one] = off.get(one, 0.0) + forecast - times * label
        return sum(x * x for x in off.values())

    def independent(self, times: float) -> float:
        return sum(times * forecast - forecast**2 for _, _, forecast in self.rows)

    def distance(self, times: float, dispersion: float) -> float:
        variance = max(self.clustered(times), dispersion * self.independent(times))
        return abs(self.expected - times * self.likes) / math.sqrt(variance)

    def figures(self, dispersion: float) -> tuple[float, float, float, float]:
        point = self.expected / self.likes
        grid = np.geomspace(point / 20, point * 20, 1500)
        kept = [times for times in grid if self.distance(times, dispersion) <= 1.959964]
        p_value = math.erfc(self.distance(1.0, dispersion) / math.sqrt(2))
        return point - 1, min(kept) - 1, max(kept) - 1, p_value


def test_a_loop_finds_the_same_biases() -> None:
    segment, user, liked, forecast = draw(3, users=60, segments=4)
    found = segment_biases(segment, user, liked, forecast)
    masks = [segment == code for code in range(4)]
    loops = [Loops(*(column[inside].tolist() for column in (user, liked, forecast))) for inside in masks]
    own = [one.expected / one.likes for one in loops]
    dispersion = sum(one.clustered(t) for one, t in zip(loops, own, strict=True)) / sum(
        one.independent(t) for one, t in zip(loops, own, strict=True)
    )
    for row, inside, one in zip(found.iter_rows(named=True), masks, loops, strict=True):
        assert [row[name] for name in FIGURES] == pytest.approx(one.figures(dispersion), abs=0.01, rel=0.01)
        assert (row["exposures"], row["likes"]) == (inside.sum(), liked[inside].sum())
        assert row["users"] == len(set(user[inside].tolist()))


def test_zero_lies_outside_the_interval_exactly_when_the_p_value_says_so() -> None:
    tables = [segment_biases(*draw(seed, users=100)).drop_nulls(FIGURES) for seed in range(30)]
    table = pl.concat(tables)
    outside = (table["bias_low"] > 0) | (table["bias_high"] < 0)
    assert len(table) > 100
    assert 0 < outside.sum() < len(table)
    assert (outside == (table["p_value"] < 0.05)).all()
    assert ((table["bias_low"] <= table["bias"]) & (table["bias"] <= table["bias_high"])).all()


def test_a_planted_bias_is_marked_and_hardly_anything_else() -> None:
    right, wrong = 0, 0
    for seed in range(40):
        segment, user, liked, forecast = draw(seed, users=600)
        off = np.where(segment == 4, (1.8 * forecast).clip(max=0.97), forecast)
        marked = segment_biases(segment, user, liked, off)["marked"].to_numpy()
        right, wrong = right + marked[4], wrong + marked.sum() - marked[4]
    assert right >= 36
    assert wrong <= 12


@pytest.mark.parametrize("rate", [1.0, 0.05])
def test_a_calibrated_forecast_is_hardly_ever_marked(rate: float) -> None:
    # At a twentieth of the rate a segment expects about two likes, where normal theory is least to be trusted.
    any_marked = 0
    for seed in range(200):
        segment, user, _, forecast = draw(seed)
        liked = np.random.default_rng(10_000 + seed).random(user.size) < rate * forecast
        any_marked += segment_biases(segment, user, liked, rate * forecast)["marked"].any()
    assert any_marked <= 0.15 * 200


def test_a_forecast_right_on_average_for_its_users_is_covered() -> None:
    # Users differ by more than the forecast knows: rows of one user hang together.
    inside, intervals = 0, 0
    for seed in range(100):
        segment, user, _, forecast = draw(seed)
        rng = np.random.default_rng(20_000 + seed)
        unknown = rng.gamma(2, 0.5, user.max() + 1)[user]
        liked = rng.random(user.size) < (0.5 * forecast * unknown).clip(max=1)
        found = segment_biases(segment, user, liked, 0.5 * forecast).drop_nulls("bias_low")
        inside += int(((found["bias_low"] <= 0) & (found["bias_high"] >= 0)).sum())
        intervals += len(found)
    assert 0.92 <= inside / intervals <= 0.985


def test_duplicating_the_rows_of_users_narrows_no_interval() -> None:
    segment, user, liked, forecast = draw(1)
    once = segment_biases(segment, user, liked, forecast)
    twice = segment_biases(*(np.tile(column, 2) for column in (segment, user, liked, forecast)))
    ends = pl.col("bias_low", "bias_high")
    np.testing.assert_allclose(once.select(ends), twice.select(ends), rtol=1e-9)


def test_few_likes_give_no_interval_and_no_like_no_bias() -> None:
    users, forecast = np.arange(30), np.full(30, 0.1)
    found = segment_biases(np.arange(30) // 10, users, np.isin(users, [0, 1, 10]), forecast)
    assert found["bias"].to_list() == pytest.approx([-0.5, 0.0, None], nan_ok=True)
    assert found.select("bias_low", "bias_high").null_count().row(0) == (3, 3)
    assert found["p_value"].null_count() == 0


def test_a_forecast_that_is_far_too_low_everywhere_is_still_tested() -> None:
    segment, user, _, forecast = draw(4)
    liked = np.random.default_rng(4).random(user.size) < 0.97
    found = segment_biases(segment, user, liked, forecast)
    assert found.null_count().sum_horizontal().item() == 0
    assert found["marked"].all()
    assert (found["bias_high"] < -0.8).all()


def test_shrinking_draws_to_the_mean_and_leaves_a_large_sure_segment_where_it_is() -> None:
    segment, user, liked, forecast = draw(2, users=3000, segments=3)
    off = np.where(segment == 0, (2 * forecast).clip(max=0.97), forecast)
    found = segment_biases(segment, user, liked, off)
    assert found["bias_shrunk"][0] == pytest.approx(found["bias"][0], abs=0.1)
    assert found["bias_shrunk"].max() < found["bias"].max()
    assert found["bias_shrunk"].min() > found["bias"].min()
    alone = segment_biases(np.zeros(4, int), [1, 2, 3, 4], [1, 0, 1, 0], [0.5] * 4)
    assert alone["bias_shrunk"].to_list() == pytest.approx([0.0])


def test_marks_are_those_of_the_step_up_rule() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.beta(0.5, 2, 12)
        ordered = sorted(p)
        ranks = [k for k in range(1, 13) if ordered[k - 1] <= 0.1 * k / 12]
        limit = ordered[max(ranks) - 1] if ranks else -1.0
        assert mark_discoveries(p).tolist() == [value <= limit for value in p]
    assert not mark_discoveries([math.nan]).any()
    with pytest.raises(UsageError, match=r"lie in \[0, 1\]"):
        mark_discoveries([1.5])


@pytest.fixture(scope="module")
def window(draw_frame: Callable[..., pl.DataFrame]) -> tuple[Scored, pl.DataFrame]:
    """Two days of a small log, and what was shown before them; one user and one item are new."""
    frame = draw_frame(seed=8).with_columns(group_half=pl.when(pl.col("user_id") > 40).then(pl.lit("a")))
    rows, shown = (frame.sort("timestamp").filter(late) for late in (is_late(), ~is_late()))
    new_user, new_item = rows["user_id"][0], rows["item_id"][1]
    shown = shown.filter(pl.col("user_id") != new_user, pl.col("item_id") != new_item)
    cold = {"user_id": (rows["user_id"] == new_user).to_numpy()}
    cold["item_id"] = (rows["item_id"] == new_item).to_numpy()
    p = rows["p_like"].to_numpy()
    return Scored(rows, p, log_losses(rows["liked"].to_numpy(), p), cold), shown


def is_late() -> pl.Expr:
    return pl.col("timestamp") >= datetime(2026, 1, 10, 12, tzinfo=UTC)


def test_every_kind_holds_every_row_once(window: tuple[Scored, pl.DataFrame]) -> None:
    scored, shown = window
    found = score_segments(scored, shown)
    kinds = ["forecast", "activity", "popularity", "warmth", "creator", "group_half"]
    assert found["kind"].unique(maintain_order=True).to_list() == kinds
    for _, kind in found.group_by("kind"):
        assert kind["exposures"].sum() == len(scored.rows)
        assert kind["likes"].sum() == scored.rows["liked"].sum()
    assert not found.select("kind", "segment").is_duplicated().any()


def test_loops_find_the_same_segments(window: tuple[Scored, pl.DataFrame]) -> None:
    scored, shown = window
    found = score_segments(scored, shown)
    assert rows_by_loops(scored, shown) == {
        (kind, segment): (exposures, likes)
        for kind, segment, exposures, likes in found.select("kind", "segment", "exposures", "likes").rows()
        if kind != "forecast"
    }


def rows_by_loops(scored: Scored, shown: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    rows = scored.rows.to_dicts()
    creators = scored.rows["creator_id"].drop_nulls().to_list()
    assert len(set(creators)) <= 20
    names: list[list[tuple[str, str]]] = []
    users, items = shown["user_id"].to_list(), shown["item_id"].to_list()
    activity = tenths_by_loops([users.count(row["user_id"]) for row in rows])
    popularity = tenths_by_loops([items.count(row["item_id"]) for row in rows])
    for place, row in enumerate(rows):
        new = (row["user_id"] not in users, row["item_id"] not in items)
        warmth = {
            (False, False): "warm",
            (True, False): "cold user",
            (False, True): "cold item",
            (True, True): "cold user and item",
        }
        creator = "unknown" if row["creator_id"] is None else str(row["creator_id"])
        names.append(
            [
                ("activity", activity[place]),
                ("popularity", popularity[place]),
                ("warmth", warmth[new]),
                ("creator", creator),
                ("group_half", row["group_half"] or "unknown"),
            ]
        )
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row, keys in zip(rows, names, strict=True):
        for key in keys:
            exposures, likes = counts.get(key, (0, 0))
            counts[key] = (exposures + 1, likes + row["liked"])
    return counts


def tenths_by_loops(values: list[int]) -> list[str]:
    """Each value goes to the tenth that holds the middle of its ties."""
    ordered = sorted(values)
    tenth = {v: int(10 * (ordered.index(v) + ordered.count(v) / 2) / len(values)) for v in set(values)}
    ends: dict[int, list[int]] = {}
    for value in ordered:
        ends.setdefault(tenth[value], []).append(value)
    names = {code: f"{found[0]:,} to {found[-1]:,}" for code, found in ends.items()}
    names |= {code: f"{found[0]:,}" for code, found in ends.items() if found[0] == found[-1]}
    return [names[tenth[value]] for value in values]


def test_a_segments_entropy_is_against_its_own_rate(window: tuple[Scored, pl.DataFrame]) -> None:
    scored, shown = window
    found = score_segments(scored, shown).filter(kind="group_half", segment="a")
    inside = (scored.rows["group_half"] == "a").fill_null(False).to_numpy()
    rate = scored.rows["liked"].to_numpy()[inside].mean()
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    assert found["normalized_entropy"].item() == pytest.approx(scored.log_loss[inside].mean() / entropy)


def test_a_tenth_that_is_off_is_marked(window: tuple[Scored, pl.DataFrame]) -> None:
    scored, shown = window
    times = scored.rows.select("item_id").join(shown.group_by("item_id").len(), on="item_id", how="left")
    popular = (times["len"].fill_null(0).rank("average") > 0.9 * len(times)).to_numpy()
    forecast = np.where(popular, (3 * scored.will_like).clip(max=0.97), scored.will_like)
    off = Scored(scored.rows, forecast, scored.log_loss, scored.cold)
    marked = score_segments(off, shown).filter(kind="popularity")["marked"].to_list()
    assert marked[-1]
    assert sum(marked) <= 3


def test_many_creators_become_twenty_and_others(window: tuple[Scored, pl.DataFrame]) -> None:
    scored, shown = window
    rows = scored.rows.with_columns(creator_id=pl.col("item_id"))
    found = score_segments(Scored(rows, scored.will_like, scored.log_loss, scored.cold), shown)
    creators = found.filter(kind="creator")
    assert len(creators) == 21
    assert creators["segment"][-1] == "others"
    assert creators["exposures"][:-1].is_sorted(descending=True)
    assert creators["exposures"][19] >= rows["item_id"].value_counts()["count"].sort(descending=True)[20]


def test_days_are_utc_days_and_bins_hold_every_row(window: tuple[Scored, pl.DataFrame]) -> None:
    scored, _ = window
    days = score_days(scored)
    for row in days.iter_rows(named=True):
        inside = (scored.rows["timestamp"].dt.date() == row["day"]).to_numpy()
        liked = scored.rows["liked"].to_numpy()[inside]
        assert (row["exposures"], row["likes"]) == (inside.sum(), liked.sum())
        assert row["bias"] == pytest.approx(scored.will_like[inside].sum() / liked.sum() - 1)
    assert days["exposures"].sum() == len(scored.rows)
    bins = count_forecasts(scored)
    for row in bins.iter_rows(named=True):
        inside = (scored.will_like >= row["low"]) & (scored.will_like < row["high"])
        assert row["liked"] + row["unliked"] == inside.sum()
        assert row["liked"] == scored.rows["liked"].to_numpy()[inside].sum()
    assert bins["low"][1:].to_list() == bins["high"][:-1].to_list()
