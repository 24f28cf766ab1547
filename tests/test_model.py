"""The model: one number a pair whichever way it is asked, exact ranks, equal bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import expit
from threadpoolctl import threadpool_limits

from recsys.config import ModelSettings, WindowsSettings
from recsys.errors import DataError, InputError, UsageError
from recsys.events import EventLog, read_events
from recsys.features import Pairs, Snapshots, usable_signals
from recsys.matrix import IdIndex
from recsys.model import WillLikeModel, fit_model, pairs_of
from recsys.model._candidates import Asked, _propose_by_crowd, rank_crowd
from recsys.probability import BetaCalibrator, LogisticHead, ProbabilityHead
from recsys.simulation import World, simulate
from recsys.split import Window, exposures_in, split_by_time

Draw = Callable[..., pl.DataFrame]
Read = Callable[..., EventLog]
Day = Callable[[float], datetime]
RANKED = ["user_id", "item_id", "rank", "will_like", "will_like_low", "will_like_high", "score"]


@pytest.fixture(scope="module")
def model(log: EventLog, small: ModelSettings) -> WillLikeModel:
    return WillLikeModel.fit(log, small, threads=1)


@pytest.fixture(scope="module")
def positives(frame: pl.DataFrame, small: ModelSettings) -> WillLikeModel:
    return WillLikeModel.fit(frame.filter("liked").drop("liked", "history_only"), small, threads=1)


@pytest.fixture(scope="module")
def ids(model: WillLikeModel) -> tuple[pl.Series, pl.Series]:
    """Users and items: some known, some new, in no order."""
    users, items = (model.snapshot.entities[kind].index.ids for kind in ("user_id", "item_id"))
    return pl.concat([users[::9], pl.Series([7, -1])]), pl.concat(
        [pl.Series([99_999, 3]), items[::2].reverse()]
    )


def cross(users: pl.Series, items: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"user_id": users}).join(pl.DataFrame({"item_id": items}), how="cross")


def with_head(model: WillLikeModel, seed: int, scale: float, calibrator: BetaCalibrator) -> WillLikeModel:
    """Put another head on a model: weights of both signs on every feature."""
    names = model.snapshot.names
    weights = scale * np.random.default_rng(seed).normal(size=len(names))
    return replace(model, head=ProbabilityHead(plain(names, weights, 0.5), calibrator, 0.1))


def plain(names: tuple[str, ...], weights: NDArray[np.float64], intercept: float) -> LogisticHead:
    """A head that holds nothing back."""
    wide = np.full(len(names), np.inf)
    return LogisticHead(names, weights, intercept, -wide, wide, np.zeros(len(names)))


def brute_force(model: WillLikeModel, pairs: pl.DataFrame, seen: pl.DataFrame, n: int) -> pl.DataFrame:
    """Score every pair, sort, and cut: by probability, then by the log-odds behind it, then by item."""
    assert model.head is not None
    log_odds = model.head.head.logit(model.features(model.snapshot.place(pairs)))
    scored = model.predict_proba(pairs).with_columns(pl.Series("log_odds", log_odds))
    allowed = scored.join(seen, on=["user_id", "item_id"], how="anti").unique(["user_id", "item_id"])
    keys, down = ["user_id", "will_like", "log_odds", "item_id"], [False, True, True, False]
    best = allowed.sort(keys, descending=down).group_by("user_id", maintain_order=True).head(n)
    return best.with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("user_id").alias("rank")
    ).select(RANKED)


class TestPredictProba:
    def test_is_the_calibrated_head_of_the_features(self, model: WillLikeModel, log: EventLog) -> None:
        assert model.head is not None
        rows = log.exposures.head(300)
        head = model.head.head
        assert isinstance(head, LogisticHead)
        features = np.clip(model.features(model.snapshot.place(rows)), head.lows, head.highs)
        raw = expit(features @ head.weights + head.intercept)
        beta = model.head.calibrator
        expected = expit(beta.a * np.log(raw) - beta.b * np.log1p(-raw) + beta.c)
        found = model.predict_proba(rows)
        np.testing.assert_allclose(found["will_like"], expected, rtol=1e-6)
        assert found.select("user_id", "item_id").equals(rows.select("user_id", "item_id"))
        assert found.schema["will_like"] == pl.Float32
        logit = np.log(raw) - np.log1p(-raw)
        bounds = beta.interval(logit)
        np.testing.assert_allclose(found["will_like_low"], bounds.low, rtol=1e-5)
        np.testing.assert_allclose(found["will_like_high"], bounds.high, rtol=1e-5)
        assert (found["will_like_low"] < found["will_like"]).all()
        assert (found["will_like"] < found["will_like_high"]).all()

    def test_pair_has_one_probability_whoever_else_is_asked(
        self, model: WillLikeModel, ids: tuple[pl.Series, pl.Series], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pairs = cross(*ids)
        every = model.predict_proba(pairs)
        order = np.random.default_rng(0).permutation(len(pairs))[:60]
        alone = pl.concat([model.predict_proba(pairs[int(place)]) for place in order])
        assert alone.equals(every[order])
        monkeypatch.setattr("recsys.features._snapshot._PAIRS_AT_ONCE", 7)
        assert model.predict_proba(pairs).equals(every)

    def test_new_users_and_items_get_rates_not_zeros(self, model: WillLikeModel, log: EventLog) -> None:
        known = model.snapshot.entities["item_id"].index.ids
        pairs = pl.concat([cross(pl.Series([-1]), known), cross(pl.Series([-1]), pl.Series([-1]))])
        found = model.predict_proba(pairs)
        rate = log.exposures["liked"].mean()
        assert found["score"].is_null().all()
        assert found["will_like"].is_between(rate / 10, rate * 5).all()
        assert found["will_like"].n_unique() > len(known) // 2

    def test_score_is_the_like_factorisation_and_null_when_cold(
        self, model: WillLikeModel, ids: tuple[pl.Series, pl.Series]
    ) -> None:
        pairs, liked = cross(*ids), model.snapshot.factors["liked"]
        for row, found in zip(pairs.iter_rows(), model.predict_proba(pairs)["score"], strict=True):
            user, item = (
                model.snapshot.entities[kind].index.ids.index_of(value)
                for kind, value in zip(("user_id", "item_id"), row, strict=True)
            )
            cold = (
                user is None
                or item is None
                or not liked.user_factors[user].any()
                or not liked.item_factors[item].any()
            )
            assert (found is None) == cold
            if not cold:
                assert found == pytest.approx(
                    float(liked.user_factors[user] @ liked.item_factors[item]), abs=1e-5
                )

    def test_creator_of_a_new_item_helps(self, model: WillLikeModel) -> None:
        creators = model.snapshot.entities["creator_id"]
        best = int(creators.index.ids[int(creators.values[:-1, 0].argmax())])
        pairs = pl.DataFrame({"user_id": [-1, -1], "item_id": [-1, -1], "creator_id": [best, None]})
        assert model.predict_proba(pairs)["will_like"].n_unique() == 2

    def test_missing_column_names_the_nearest(self, model: WillLikeModel) -> None:
        with pytest.raises(InputError, match=r"no column 'item_id': did you mean 'items_id'\?"):
            model.predict_proba(pl.DataFrame({"user_id": [1], "items_id": [2]}))

    def test_ids_of_the_other_kind_are_refused(self, model: WillLikeModel) -> None:
        with pytest.raises(DataError, match="user_id is String here and Int64 in the log"):
            model.predict_proba(pl.DataFrame({"user_id": ["1"], "item_id": [2]}))

    def test_no_pairs_no_rows(self, model: WillLikeModel) -> None:
        pairs = pl.DataFrame(schema={"user_id": pl.Int64, "item_id": pl.Int64})
        assert model.predict_proba(pairs).columns == ["user_id", "item_id", *RANKED[3:]]


class TestRecommend:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize(
        ("scale", "calibrator"),
        [(0.3, (1, 1, 0)), (0.3, (0.7, 1.3, -1)), (0.3, (0, 0, 0.2)), (1e-9, (1, 1, 0)), (30, (1, 1, 0))],
    )
    def test_equals_brute_force(
        self,
        model: WillLikeModel,
        ids: tuple[pl.Series, pl.Series],
        seed: int,
        scale: float,
        calibrator: tuple[float, float, float],
    ) -> None:
        other = with_head(model, seed, scale, BetaCalibrator(*calibrator))
        assert other.shown is not None
        seen = other.shown.select("user_id", "item_id")
        for n in (1, 10, 200):
            found = other.recommend(ids[0], n, items=pl.DataFrame({"item_id": ids[1]}))
            assert found.equals(brute_force(other, cross(*ids), seen, n))

    @pytest.mark.parametrize("tiny", [1e-5, -1e-5])
    def test_rounding_in_the_search_loses_no_item(self, model: WillLikeModel, tiny: float) -> None:
        # Items of one category are all but tied: float32 cannot tell them apart.
        weights = {"category:rate:liked": 1e3, "item_id:ln_exposures": tiny}
        values = np.array([weights.get(name, 0.0) for name in model.snapshot.names])
        head = ProbabilityHead(plain(model.snapshot.names, values, 0.0), BetaCalibrator(1, 1, 0), 0.1)
        other, links = replace(model, head=head), model.snapshot.links["category"][:-1]
        items = model.snapshot.entities["item_id"].index.ids.filter(pl.Series(links == links[0]))[:9]
        found = other.recommend(
            [10], 1, items=pl.DataFrame({"item_id": items}), exclude=pairs_of(other.shown, "none")
        )
        pairs = cross(pl.Series([10]), items)
        assert found.equals(brute_force(other, pairs, pairs.clear(), 1))

    def test_many_new_things_are_tied_and_come_in_order(self, model: WillLikeModel) -> None:
        catalogue = pl.DataFrame({"item_id": np.arange(90_000, 95_000)})
        found = model.recommend([-1, 10, 13], 50, items=catalogue.sample(fraction=1, shuffle=True, seed=1))
        assert found["item_id"].to_list() == [*range(90_000, 90_050)] * 3
        assert found["will_like"].n_unique() <= 3

    def test_everyone_by_default_and_each_as_if_alone(
        self, model: WillLikeModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        every = model.recommend(n=5)
        assert (
            every["user_id"].unique(maintain_order=True).equals(model.snapshot.entities["user_id"].index.ids)
        )
        for user in (10, 13, 40):
            assert model.recommend([user], 5).equals(every.filter(pl.col("user_id") == user))
        monkeypatch.setattr("recsys.model._recommend._USER_CHUNK", 7)
        assert model.recommend(n=5).equals(every)

    def test_nothing_seen_nothing_twice_and_ranks_without_holes(self, model: WillLikeModel) -> None:
        found = model.recommend(n=30)
        assert model.shown is not None
        assert found.join(model.shown, on=["user_id", "item_id"], how="semi").is_empty()
        assert found.select("user_id", "item_id").is_unique().all()
        assert found.columns == RANKED
        assert found.schema["rank"] == pl.Int32
        assert found.select("user_id", "rank").equals(found.select("user_id", "rank").sort("user_id", "rank"))
        for user in found.partition_by("user_id"):
            assert user["rank"].to_list() == [*range(1, len(user) + 1)]
            assert user["will_like"].is_sorted(descending=True)
        assert found["will_like"].is_between(0, 1, closed="none").all()

    @pytest.mark.parametrize("kind", ["seen", "liked", "none"])
    def test_exclusions(self, model: WillLikeModel, kind: str) -> None:
        assert model.shown is not None
        left_out = pairs_of(model.shown, kind)
        found = model.recommend([10], n=1000, exclude=left_out)
        hidden = set(left_out.filter(pl.col("user_id") == 10)["item_id"])
        assert set(found["item_id"]) == set(model.snapshot.entities["item_id"].index.ids) - hidden
        assert (
            len(hidden)
            == {
                "seen": len(hidden),
                "liked": model.shown.filter("liked", user_id=10)["item_id"].n_unique(),
                "none": 0,
            }[kind]
        )

    @pytest.mark.parametrize(
        "users", [[13, 10, 13, None], np.array([13, 10]), pl.Series([10, 13], dtype=pl.Int16), (13, 10)]
    )
    def test_users_are_answered_once_each_in_order_with_the_types_of_the_log(
        self, model: WillLikeModel, users: Any
    ) -> None:
        found = model.recommend(
            users,
            n=2,
            items=pl.DataFrame({"item_id": [1000, 1007, 1007, None]}, schema={"item_id": pl.Int32}),
            exclude=pl.DataFrame({"user_id": [], "item_id": []}),
        )
        assert found["user_id"].to_list() == [10, 10, 13, 13]
        assert (found.schema["user_id"], found.schema["item_id"]) == (pl.Int64, pl.Int64)

    @pytest.mark.parametrize("nobody", [[], pl.Series([], dtype=pl.Int64), [None]])
    def test_nobody_asked_nothing_recommended(self, model: WillLikeModel, nobody: Any) -> None:
        found = model.recommend(nobody)
        assert found.is_empty()
        assert found.schema == model.recommend([10]).schema

    def test_empty_catalogue(self, model: WillLikeModel) -> None:
        assert model.recommend([10], items=pl.DataFrame(schema={"item_id": pl.Int64})).is_empty()

    @pytest.mark.parametrize(
        ("arguments", "error", "said"),
        [
            ({"n": 0}, UsageError, "n must be at least 1, got 0"),
            ({"user_ids": ["a"]}, DataError, "user_id is String here and Int64 in the log"),
            ({"items": pl.DataFrame({"item": [1]})}, InputError, r"items has no column 'item_id': did you"),
            ({"items": pl.DataFrame({"item_id": ["5"]})}, DataError, "item_id is String here and Int64"),
            (
                {"exclude": pl.DataFrame({"user": [1], "item_id": [1]})},
                InputError,
                "exclude has no column 'user_id'",
            ),
        ],
    )
    def test_refusals(
        self, model: WillLikeModel, arguments: dict[str, Any], error: type[Exception], said: str
    ) -> None:
        with pytest.raises(error, match=said):
            model.recommend(**arguments)


@pytest.fixture(scope="module")
def broad(small: ModelSettings) -> WillLikeModel:
    made = simulate(World.preset("small", exposures=20_000, users=400, items=600, seed=3))
    return WillLikeModel.fit(made.events, small.model_copy(update={"cuts": 1}))


class TestCandidates:
    def test_fewer_candidates_rank_what_is_proposed_alike(
        self, model: WillLikeModel, ids: tuple[pl.Series, pl.Series]
    ) -> None:
        few, every = (model.recommend(ids[0], 5, candidates=number) for number in (5, 1000))
        assert few.group_by("user_id").len()["len"].min() == 5
        both = few.join(model.predict_proba(few.select("user_id", "item_id")), on=["user_id", "item_id"])
        assert (both["will_like"] == both["will_like_right"]).all()
        best = few.group_by("user_id").agg(pl.col("will_like").sum()).sort("user_id")
        ceiling = every.group_by("user_id").agg(pl.col("will_like").sum()).sort("user_id")
        assert (best["will_like"] <= ceiling["will_like"] + 1e-6).all()

    @pytest.mark.parametrize("number", [10, 13, 40])
    def test_they_are_the_first_of_the_crowd_and_of_each_factorisation(
        self, broad: WillLikeModel, number: int
    ) -> None:
        users, items = (broad.snapshot.entities[kind].index.ids for kind in ("user_id", "item_id"))
        pairs = users.to_frame().join(items.to_frame(), how="cross")
        nobody = items.to_frame().with_columns(user_id=pl.lit(-5))
        odds = [
            broad.head.head.logit(broad.features(broad.snapshot.place(asked))) for asked in (pairs, nobody)
        ]
        named = np.zeros((len(users), len(items)), bool)
        named[:, np.argsort(-odds[1], kind="stable")[:number]] = True
        for factors in broad.snapshot.factors.values():
            scores = factors.user_factors @ factors.item_factors.T
            known = np.flatnonzero(factors.item_factors.any(axis=1))
            for user in np.flatnonzero(factors.user_factors.any(axis=1)):
                named[user, known[np.argsort(-scores[user, known], kind="stable")[:number]]] = True
        best = np.argsort(-np.where(named, odds[0].reshape(named.shape), -np.inf), axis=1, kind="stable")
        found = broad.recommend(n=2, candidates=number, exclude=pairs.head(0))
        assert found["item_id"].to_list() == items.gather(best[:, :2].ravel()).to_list()

    @pytest.mark.parametrize("most", [None, 2])
    def test_several_numbers_at_once_rank_as_each_does_alone(
        self, broad: WillLikeModel, most: int | None
    ) -> None:
        numbers = (40, 3, 12, 1000)
        found = broad.recommend_by_candidates(None, 2, candidates=numbers, max_per_creator=most)
        assert tuple(found) == numbers
        for number, ranked in found.items():
            assert ranked.equals(broad.recommend(n=2, candidates=number, max_per_creator=most))
        lists = [found[number]["item_id"].to_list() for number in (12, 40, 1000)]
        assert lists[0] != lists[1]
        assert lists[1] != lists[2]

    @pytest.mark.parametrize("most", [1, 2])
    def test_at_most_so_many_of_one_creator(self, model: WillLikeModel, most: int) -> None:
        items = model.snapshot.entities["item_id"].index.ids
        creators = pl.DataFrame({"item_id": items, "creator": model.snapshot.links["creator_id"][:-1]})
        found = model.recommend(n=6, max_per_creator=most).join(creators, on="item_id")
        counts = found.filter(pl.col("creator") >= 0).group_by("user_id", "creator").len()["len"]
        assert counts.max() == most
        free = model.recommend(n=60).join(creators, on="item_id").sort("user_id", "rank")
        standing = pl.int_range(pl.len()).over("user_id", "creator")
        greedy = free.filter((pl.col("creator") < 0) | (standing < most)).group_by(
            "user_id", maintain_order=True
        )
        assert greedy.head(6)["item_id"].equals(found.sort("user_id", "rank")["item_id"])

    def test_creators_cannot_be_limited_where_there_are_none(
        self, frame: pl.DataFrame, small: ModelSettings
    ) -> None:
        model = WillLikeModel.fit(frame.drop("creator_id"), small)
        with pytest.raises(UsageError, match="max_per_creator needs a log with creators"):
            model.recommend([10], max_per_creator=1)

    @pytest.mark.parametrize("wrong", [{"candidates": 0}, {"max_per_creator": 0}])
    def test_numbers_below_one_are_refused(self, model: WillLikeModel, wrong: dict[str, int]) -> None:
        with pytest.raises(UsageError, match="must be at least 1, got 0"):
            model.recommend(n=3, **wrong)


@pytest.mark.parametrize("head", ["gbm", "auto"])
def test_other_heads_serve_and_come_back_from_files(log: EventLog, small: ModelSettings, head: str) -> None:
    fitted = WillLikeModel.fit(log, small.model_copy(update={"head": head}))
    again = WillLikeModel.from_files(fitted.to_files())
    pairs = log.exposures.select("user_id", "item_id").head(50)
    assert again.predict_proba(pairs).equals(fitted.predict_proba(pairs))
    assert again.to_files() == fitted.to_files()
    assert ("trees.txt" in fitted.to_files()) == (fitted.to_files()["head.json"].count(b'"gbm"') == 1)


class TestPositivesOnly:
    @pytest.fixture(params=["no like column", "all liked"])
    def ranker(
        self, request: pytest.FixtureRequest, frame: pl.DataFrame, small: ModelSettings
    ) -> WillLikeModel:
        liked = frame.filter("liked")
        return WillLikeModel.fit(
            liked if request.param == "all liked" else liked.drop("liked"), small, threads=1
        )

    def test_ranks_by_score_and_claims_no_probability(self, ranker: WillLikeModel) -> None:
        found = ranker.recommend(n=5)
        assert found["will_like"].is_null().all()
        assert found["score"].is_not_null().all()
        for user in found.partition_by("user_id"):
            assert user["score"].is_sorted(descending=True)
        pairs = cross(found["user_id"].unique(), ranker.snapshot.entities["item_id"].index.ids)
        best = (
            ranker.predict_proba(pairs)
            .join(ranker.shown, on=["user_id", "item_id"], how="anti")
            .group_by("user_id")
            .agg(pl.col("score").max())
        )
        assert best.sort("user_id")["score"].equals(found.filter(pl.col("rank") == 1)["score"])

    def test_new_users_get_what_was_met_most(self, ranker: WillLikeModel) -> None:
        counts = ranker.shown["item_id"].value_counts().sort(["count", "item_id"], descending=[True, False])
        assert ranker.recommend([-1], n=9)["item_id"].to_list() == counts["item_id"].head(9).to_list()

    def test_probabilities_are_refused(self, ranker: WillLikeModel) -> None:
        with pytest.raises(DataError, match="positives only has no probabilities"):
            ranker.probabilities(ranker.snapshot.place(pl.DataFrame({"user_id": [1], "item_id": [1]})))

    def test_files_and_back(self, ranker: WillLikeModel) -> None:
        files = ranker.to_files()
        again = WillLikeModel.from_files(files)
        assert again.to_files() == files
        assert again.recommend(n=3, exclude=ranker.shown).equals(ranker.recommend(n=3))


@pytest.mark.parametrize("n", [1, 4, 50])
def test_the_crowd_proposes_its_best_that_are_not_kept_away(n: int) -> None:
    rng = np.random.default_rng(n)
    by_crowd = rng.integers(0, 9, 30).astype(float)
    kept_away = rng.random((20, 30)) < np.linspace(0, 1, 20)[:, None]
    asked = Asked(np.zeros(20, np.int32), Pairs({}), csr_matrix(kept_away.astype(np.float32)))
    found = _propose_by_crowd(asked, rank_crowd(by_crowd), n)
    best_first = sorted(range(30), key=lambda item: (-by_crowd[item], item))
    lists = [[item for item in best_first if not kept_away[user, item]][:n] for user in range(20)]
    assert [found.items[found.users == user].tolist() for user in range(20)] == lists
    assert [found.ranks[found.users == user].tolist() for user in range(20)] == [
        list(range(1, len(one) + 1)) for one in lists
    ]


def test_lists_do_not_depend_on_how_many_users_are_ranked_at_once(
    model: WillLikeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = model.recommend(n=5)
    monkeypatch.setattr("recsys.model._recommend._USER_CHUNK", 7)
    assert model.recommend(n=5).equals(together)


class TestKinds:
    def test_pandas_in_pandas_out(
        self, frame: pl.DataFrame, small: ModelSettings, model: WillLikeModel
    ) -> None:
        log = read_events(frame.to_pandas(), signals=["long_view"])
        same = WillLikeModel.fit(log, small, threads=1)
        pairs = frame.select("user_id", "item_id").head(50)
        found = same.predict_proba(pairs.to_pandas())
        assert isinstance(found, pd.DataFrame)
        assert found["will_like"].dtype == np.float32
        assert pl.from_pandas(found)["will_like"].equals(model.predict_proba(pairs)["will_like"])
        for arguments in (
            {"user_ids": pd.Series([10, 13])},
            {"items": pd.DataFrame({"item_id": [1000, 1007]})},
        ):
            assert isinstance(same.recommend(n=2, **arguments), pd.DataFrame)
        assert isinstance(
            same.recommend([10], 2, exclude=pd.DataFrame({"user_id": [10], "item_id": [1000]})), pl.DataFrame
        )

    @pytest.mark.parametrize(
        "rename",
        [
            lambda ids: ids.cast(pl.String).str.zfill(6),
            lambda ids: "ж🎈" + ids.cast(pl.String).str.zfill(9),
            lambda ids: ids.cast(pl.UInt64) + (2**64 - 10**6),
            lambda ids: ids.cast(pl.Int16) - 20_000,
        ],
    )
    def test_names_of_people_and_things_mean_nothing_beyond_their_order(
        self, frame: pl.DataFrame, small: ModelSettings, model: WillLikeModel, rename: Any
    ) -> None:
        both = ("user_id", "item_id")
        renamed = frame.with_columns(rename(pl.col(name)).alias(name) for name in both)
        other = WillLikeModel.fit(read_events(renamed, signals=["long_view"]), small, threads=1)
        expected = model.recommend(n=7)
        found = other.recommend(n=7)
        assert found.drop(both).equals(expected.drop(both))
        assert found.select(both).equals(expected.select(rename(pl.col(name)).alias(name) for name in both))
        assert other.recommend(found["user_id"].unique().to_list(), n=7).equals(found)
        assert (
            WillLikeModel.from_files(other.to_files()).predict_proba(found).equals(other.predict_proba(found))
        )


def digest(files: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


class TestBytes:
    def test_files_and_back(self, model: WillLikeModel, ids: tuple[pl.Series, pl.Series]) -> None:
        files = model.to_files()
        again = WillLikeModel.from_files(files)
        assert again.to_files() == files
        assert again.predict_proba(cross(*ids)).equals(model.predict_proba(cross(*ids)))
        assert again.recommend(n=9, exclude=model.shown).equals(model.recommend(n=9))
        assert again.snapshot.cut == model.snapshot.cut
        assert again.snapshot.names == model.snapshot.names

    def test_model_from_files_needs_to_be_told_what_was_seen(self, model: WillLikeModel) -> None:
        with pytest.raises(UsageError, match="say which pairs to exclude"):
            WillLikeModel.from_files(model.to_files()).recommend()

    def test_how_ids_lie_in_memory_does_not_show(self, model: WillLikeModel) -> None:
        ids, table = pl.Series(np.arange(300_000)), model.snapshot.entities["user_id"]
        values, effects = np.zeros((300_001, len(table.names))), np.zeros((300_001, table.effects.shape[1]))
        found = set()
        for chunks in ([ids], [ids[:9], ids[9:]]):
            index = IdIndex(pl.concat(chunks, rechunk=False))
            users = replace(table, index=index, values=values, effects=effects)
            entities = model.snapshot.entities | {"user_id": users}
            other = replace(model, snapshot=replace(model.snapshot, entities=entities))
            found.add(other.to_files()["users.parquet"])
        assert len(found) == 1

    @pytest.mark.parametrize(("threads", "blas"), [(2, 2), (0, 1), (3, 2)])
    def test_threads_change_nothing(
        self, log: EventLog, small: ModelSettings, model: WillLikeModel, threads: int, blas: int
    ) -> None:
        with threadpool_limits(blas, user_api="blas"):
            other = WillLikeModel.fit(log, small, threads=threads)
            ranked = other.recommend(n=9)
        assert other.to_files() == model.to_files()
        assert ranked.equals(model.recommend(n=9))

    def test_another_process_at_another_time_with_one_thread_writes_the_same(
        self, frame: pl.DataFrame, small: ModelSettings, model: WillLikeModel, tmp_path: Path
    ) -> None:
        path = tmp_path / "events.parquet"
        frame.write_parquet(path)
        script = f"""
import hashlib
from recsys.config import ModelSettings
from recsys.events import read_events
from recsys.model import WillLikeModel
log = read_events({str(path)!r}, signals=["long_view"])
files = WillLikeModel.fit(log, ModelSettings.model_validate_json({small.model_dump_json()!r})).to_files()
print(hashlib.sha256(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest())
"""
        environ = {
            **os.environ,
            "POLARS_MAX_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "7",
            "TZ": "Asia/Tokyo",
        }
        done = subprocess.run(
            [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == digest(model.to_files())

    def test_zone_of_as_of_changes_nothing(self, log: EventLog, small: ModelSettings, day: Day) -> None:
        found = [
            WillLikeModel.fit(
                log, small, day(11).astimezone(timezone(timedelta(hours=hours))), threads=1
            ).to_files()
            for hours in (0, 9)
        ]
        assert found[0] == found[1]

    def test_as_of_is_as_if_the_rest_had_not_happened(
        self, frame: pl.DataFrame, log: EventLog, small: ModelSettings, day: Day, read_exposures: Read
    ) -> None:
        past = read_exposures(frame.filter(pl.col("timestamp") < day(11)), as_of=day(11))
        found = [WillLikeModel.fit(each, small, day(11), threads=1) for each in (log, past)]
        assert found[0].to_files() == found[1].to_files()
        assert found[0].recommend(n=5).equals(found[1].recommend(n=5))

    def test_late_likes_do_not_reach_a_head_fitted_before_them(
        self, draw_events: Draw, read_event_log: Read, small: ModelSettings, day: Day
    ) -> None:
        events = draw_events(seed=4)
        logs = [read_event_log(rows) for rows in (events, events.filter(pl.col("timestamp") < day(9)))]
        window = Window(day(6), day(6), day(9))
        found = [fit_model(Snapshots(log, small, 1), window, day(9)).to_files() for log in logs]
        assert found[0] == found[1]

    def test_what_a_head_does_not_learn_from_may_be_let_go(
        self, draw_events: Draw, read_event_log: Read, small: ModelSettings, day: Day
    ) -> None:
        log, window = read_event_log(draw_events(seed=4)), Window(day(6), day(6), day(9))
        whole, later = Snapshots(log, small, 1), Snapshots(log, small, 1, remember=False)
        later.let_go(until=window.start)
        assert later.log.exposures["timestamp"].min() >= window.start > log.exposures["timestamp"].min()
        assert later.usable_signals(day(3)) == usable_signals(log, day(3), small)
        found = [fit_model(snapshots, window, day(9)).to_files() for snapshots in (whole, later)]
        assert found[0] == found[1]


class TestFit:
    @pytest.mark.parametrize("liked", [True, False])
    def test_window_of_one_label_is_refused(
        self, frame: pl.DataFrame, small: ModelSettings, day: Day, liked: bool
    ) -> None:
        late = pl.col("timestamp") >= day(8)
        rows = frame.with_columns(pl.when(late).then(pl.lit(liked)).otherwise("liked").alias("liked"))
        with pytest.raises(
            DataError, match=r"the calibrate window \[2026-01-\d\d.*likes in .*windows.calibrate"
        ):
            WillLikeModel.fit(rows, small, threads=1)

    def test_window_longer_than_the_log_is_refused(self, log: EventLog, small: ModelSettings) -> None:
        with pytest.raises(DataError, match="no exposure lies before"):
            WillLikeModel.fit(log, small, windows=WindowsSettings(calibrate=timedelta(days=12)), threads=1)

    def test_naive_as_of_is_refused(self, log: EventLog, small: ModelSettings, day: Day) -> None:
        with pytest.raises(UsageError, match="as_of needs its zone"):
            WillLikeModel.fit(log, small, day(11).replace(tzinfo=None))

    def test_head_is_learnt_before_its_window_ends_and_factors_are_refreshed(
        self, log: EventLog, small: ModelSettings, day: Day
    ) -> None:
        window = Window(day(6), day(6), day(9))
        snapshots = Snapshots(log, small, 1)
        at_once, refreshed = (fit_model(snapshots, window, to) for to in (window.cut, day(12)))
        assert at_once.head is not None
        assert refreshed.head is not None
        assert at_once.head.head.weights.tobytes() == refreshed.head.head.weights.tobytes()
        assert (at_once.snapshot.cut, refreshed.snapshot.cut) == (window.cut, day(12))
        assert at_once.snapshot.factors["liked"] is not refreshed.snapshot.factors["liked"]

    def test_baseline_reads_only_what_it_may(self, log: EventLog, small: ModelSettings, day: Day) -> None:
        window = Window(day(6), day(6), day(9))
        found = fit_model(
            Snapshots(log, small, 1), window, day(9), use=lambda name: name == "item_id:rate:liked"
        )
        assert found.head is not None
        assert found.head.head.names == ("item_id:rate:liked",)
        users = found.snapshot.entities["user_id"].index.ids
        one_item = found.predict_proba(cross(users, pl.Series([1000])))
        assert one_item["will_like"].n_unique() == 1

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_procedure_is_calibrated_and_explains_on_a_planted_world(
        self, draw_frame: Draw, read_exposures: Read, small: ModelSettings, seed: int
    ) -> None:
        frame = draw_frame(seed, rows=30_000, users=600, items=150)
        log, day = read_exposures(frame), timedelta(days=1)
        windows = split_by_time(WindowsSettings(calibrate=day, test=day), log.as_of)
        model = fit_model(Snapshots(log, small, 1), windows.calibrate, windows.test.cut)
        rows = exposures_in(log.exposures, windows.test)
        rows = rows.join(frame.select("user_id", "timestamp", "p_like"), on=["user_id", "timestamp"])
        liked, will_like = rows["liked"].to_numpy(), model.probabilities(model.snapshot.place(rows))
        bias, error = mean_with_error(will_like - liked, rows["user_id"].to_numpy())
        # The calibrate window is as long as the test window, and as noisy.
        assert abs(bias) < 1.96 * np.sqrt(2) * error
        explained, possible = (explained_share(liked, p) for p in (will_like, rows["p_like"].to_numpy()))
        assert possible > explained > possible / 3


def explained_share(liked: NDArray[np.bool_], p: NDArray[np.float64]) -> float:
    rate = np.full(len(liked), liked.mean())
    losses = [-np.mean(np.where(liked, np.log(q), np.log1p(-q))) for q in (p, rate)]
    return float(1 - losses[0] / losses[1])


def mean_with_error(values: NDArray[np.float64], users: NDArray[np.int64]) -> tuple[float, float]:
    """Take a mean and its user-clustered standard error."""
    sums = np.bincount(users, weights=values - values.mean())
    return float(values.mean()), float(np.sqrt((sums**2).sum())) / len(values)
