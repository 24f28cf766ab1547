"""Snapshots: nothing from after the cut, and formulas against loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import betabinom

from recsys.config import ModelSettings
from recsys.errors import DataError
from recsys.events import EventLog
from recsys.features import Snapshot, Snapshots, fit_beta_binomial, shrunk_log_odds, usable_signals
from recsys.matrix import one_blas_thread
from recsys.split import Window, exposures_in, known_before

Draw = Callable[..., pl.DataFrame]
Read = Callable[..., EventLog]
Day = Callable[[float], datetime]
CUT = 8.0
SIGNALS = ["long_view", "dwell_seconds"]


@pytest.fixture(autouse=True, scope="module")
def _fast_optimiser() -> Iterator[None]:
    with one_blas_thread():
        yield


@pytest.fixture(scope="module")
def snapshot(log: EventLog, small: ModelSettings, day: Day) -> Snapshot:
    return Snapshots(log, small, threads=1).at(day(CUT))


def contents(snapshot: Snapshot) -> dict[str, Any]:
    """Everything a snapshot holds, byte by byte."""
    held: dict[str, Any] = {"names": snapshot.names, "skipped": snapshot.skipped}
    for name, factors in snapshot.factors.items():
        held[f"factors:{name}"] = (factors.user_factors.tobytes(), factors.item_factors.tobytes())
    for kind, table in snapshot.entities.items():
        held[f"table:{kind}"] = (table.index.ids.to_list(), table.names, table.values.tobytes())
    return held | {f"links:{kind}": links.tobytes() for kind, links in snapshot.links.items()}


def delete(rows: pl.DataFrame, cut: datetime) -> pl.DataFrame:
    return rows.filter(pl.col("timestamp") < cut)


def distort(rows: pl.DataFrame, cut: datetime) -> pl.DataFrame:
    """Change what happened from the cut on: other labels, numbers and owners, and new people and things."""
    future = rows.filter(pl.col("timestamp") >= cut)
    changed = future.with_columns(
        pl.col("dwell_seconds") * 1e6,
        pl.col("creator_id") + 50,
        pl.lit("new").alias("category"),
        *(~pl.col(name) for name in ("liked", "long_view", "history_only") if name in rows.columns),
    )
    strangers = changed.with_columns(pl.col("user_id") - 100_000, pl.col("item_id") - 100_000)
    return pl.concat([strangers, delete(rows, cut), changed.reverse()])


def shift_likes(events: pl.DataFrame, cut: datetime) -> pl.DataFrame:
    """Give every view before the cut a like, and a long view, after it."""
    views = delete(events, cut).filter(pl.col("event_type") == "VIEW")
    late = [
        views.with_columns(pl.col("timestamp") + (cut - pl.col("timestamp")), event_type=pl.lit(kind))
        for kind in ("LIKE", "LONG")
    ]
    return pl.concat([delete(events, cut), *late])


class TestCutInvariance:
    @pytest.mark.parametrize("seed", [1, 2])
    @pytest.mark.parametrize("change", [delete, distort])
    def test_exposures(
        self, draw_frame: Draw, read_exposures: Read, small: ModelSettings, day: Day, seed: int, change: Any
    ) -> None:
        rows = draw_frame(seed)
        self.check(rows, change(rows, day(CUT)), read_exposures, small, day)

    @pytest.mark.parametrize("seed", [1, 2])
    @pytest.mark.parametrize("change", [delete, distort, shift_likes])
    def test_event_log(
        self, draw_events: Draw, read_event_log: Read, small: ModelSettings, day: Day, seed: int, change: Any
    ) -> None:
        events = draw_events(seed)
        self.check(events, change(events, day(CUT)), read_event_log, small, day)

    @staticmethod
    def check(was: pl.DataFrame, now: pl.DataFrame, read: Read, settings: ModelSettings, day: Day) -> None:
        logs = [read(rows, like_within="20d") for rows in (was, now)]
        assert not logs[0].exposures.equals(logs[1].exposures)
        before, after = (Snapshots(log, settings, threads=1).at(day(CUT)) for log in logs)
        assert {"dot:liked", "dot:long_view", "dot:dwell_seconds", "creator_id:rate:liked"} < set(
            before.names
        )
        assert contents(before) == contents(after)
        pairs = logs[0].exposures.select("user_id", "item_id")
        features = [one.pair_features(one.place(pairs)).tobytes() for one in (before, after)]
        assert features[0] == features[1]


class TestNewness:
    """How new an item is: one half a week after it was created, or else first shown."""

    @staticmethod
    def of(log: EventLog, settings: ModelSettings, cut: datetime) -> dict[Any, float]:
        table = Snapshots(log, settings, threads=1).at(cut).entities["item_id"]
        values = table.values[:, table.names.index("newness")]
        return dict(zip([*table.index.ids, None], values, strict=True))

    @staticmethod
    def draw_creations(rows: pl.DataFrame, seed: int = 3) -> pl.DataFrame:
        """Give each item a creation up to a month before its first exposure; some rows do not tell it."""
        rng = np.random.default_rng(seed)
        items = rows.group_by("item_id", maintain_order=True).agg(pl.col("timestamp").min().alias("first"))
        days = pl.Series((rng.random(len(items)) * 30 * 86_400e6).astype(np.int64)).cast(pl.Duration("us"))
        items = items.select("item_id", (pl.col("first") - days).alias("item_created_at"))
        told = pl.Series(rng.random(len(rows)) < 0.5)
        return rows.join(items, on="item_id", how="left", maintain_order="left").with_columns(
            pl.when(told).then("item_created_at")
        )

    def test_by_hand(self, read_exposures: Read, small: ModelSettings, day: Day) -> None:
        told = {
            "told": [(5, -2)],
            "told by one row only": [(1, None), (6, -10), (7, None)],
            "unknown": [(2, None), (4, None)],
            "after its exposure": [(3, 5), (7, 7.5)],
            "before one exposure, after another": [(3, None), (7, 5)],
            "told at the cut": [(4, None), (8, -20)],
        }
        rows = [
            (item, day(at), None if born is None else day(born)) for item in told for at, born in told[item]
        ]
        frame = pl.DataFrame(rows, schema=["item_id", "timestamp", "item_created_at"], orient="row")
        frame = frame.with_columns(user_id=pl.int_range(pl.len()), liked=pl.int_range(pl.len()) % 2 == 0)
        found = self.of(read_exposures(frame, signals=[]), small, day(8))
        born = dict(zip(told, (-2, -10, 2, 3, 3, 4), strict=True))
        assert found == pytest.approx(
            {**{item: 0.5 ** ((8 - at) / 7) for item, at in born.items()}, None: 1.0}
        )

    @pytest.mark.parametrize("seed", [1, 2])
    def test_equals_a_slow_version(
        self, draw_frame: Draw, read_exposures: Read, small: ModelSettings, day: Day, seed: int
    ) -> None:
        rows = self.draw_creations(draw_frame(seed))
        found = self.of(read_exposures(rows), small, day(CUT))
        known = delete(rows, day(CUT)).to_dicts()
        for item in {row["item_id"] for row in known}:
            mine = [row for row in known if row["item_id"] == item]
            there = [row["timestamp"] for row in mine]
            there += [row["item_created_at"] for row in mine if row["item_created_at"] is not None]
            age = (day(CUT) - min(there)).total_seconds() / 86_400
            assert found[item] == pytest.approx(0.5 ** (age / 7))

    def test_a_column_of_nulls_is_no_column(
        self, frame: pl.DataFrame, log: EventLog, read_exposures: Read, small: ModelSettings, day: Day
    ) -> None:
        unknown = frame.with_columns(item_created_at=pl.lit(None, pl.Datetime("us")))
        snapshots = [Snapshots(one, small, threads=1).at(day(CUT)) for one in (log, read_exposures(unknown))]
        assert contents(snapshots[0]) == contents(snapshots[1])

    def test_only_rows_before_the_cut_tell_it(
        self, draw_frame: Draw, read_exposures: Read, small: ModelSettings, day: Day
    ) -> None:
        rows = self.draw_creations(draw_frame(seed=1))
        late = pl.col("timestamp") >= day(CUT)
        moved = pl.when(late).then(pl.lit(day(-500))).otherwise("item_created_at").alias("item_created_at")
        for changed in (rows.with_columns(moved), delete(rows, day(CUT))):
            logs = [read_exposures(one) for one in (rows, changed)]
            before, after = (Snapshots(log, small, threads=1).at(day(CUT)) for log in logs)
            assert contents(before) == contents(after)

    def test_views_of_an_event_log_tell_it(
        self, draw_events: Draw, read_event_log: Read, small: ModelSettings, day: Day
    ) -> None:
        events = draw_events(seed=1).with_columns(item_created_at=pl.lit(day(-7)))
        found = self.of(read_event_log(events), small, day(0.5))
        item = read_event_log(events).exposures.sort("timestamp")["item_id"][0]
        assert found[item] == pytest.approx(0.5 ** (7.5 / 7))


class TestOneFunction:
    def test_features_of_a_pair_do_not_depend_on_the_other_pairs(
        self, log: EventLog, snapshot: Snapshot, day: Day
    ) -> None:
        rows = exposures_in(log.exposures, Window(day(CUT), day(CUT), day(CUT + 2)))
        every = snapshot.pair_features(snapshot.place(rows))
        chosen = np.random.default_rng(0).permutation(len(rows))[:80]
        some = snapshot.pair_features(snapshot.place(rows[chosen]))
        alone = [snapshot.pair_features(snapshot.place(rows[int(place)])) for place in chosen]
        assert some.tobytes() == every[chosen].tobytes() == np.vstack(alone).tobytes()
        assert every.shape == (len(rows), len(snapshot.names))

    def test_order_of_the_log_changes_nothing(
        self, frame: pl.DataFrame, read_exposures: Read, small: ModelSettings, day: Day
    ) -> None:
        shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
        pairs = frame.select("user_id", "item_id")
        found = []
        for rows in (frame, shuffled):
            snapshot = Snapshots(read_exposures(rows), small, threads=1).at(day(CUT))
            found.append(snapshot.pair_features(snapshot.place(pairs)))
            assert rows["timestamp"].is_unique().all()
        assert found[0].tobytes() == found[1].tobytes()

    def test_dots_are_inner_products_and_tables_are_looked_up(
        self, log: EventLog, snapshot: Snapshot
    ) -> None:
        user, item = log.exposures.row(0, named=True)["user_id"], log.exposures.row(0, named=True)["item_id"]
        pair = pl.DataFrame({"user_id": [user], "item_id": [item]})
        found = dict(zip(snapshot.names, snapshot.pair_features(snapshot.place(pair))[0], strict=True))
        places = [
            snapshot.entities[kind].index.ids.index_of(of)
            for kind, of in (("user_id", user), ("item_id", item))
        ]
        for name, factors in snapshot.factors.items():
            dot = float(np.dot(factors.user_factors[places[0]], factors.item_factors[places[1]]))
            every = factors.user_factors.astype(float) @ factors.item_factors.astype(float).T
            observed = every[factors.user_factors.any(axis=1)][:, factors.item_factors.any(axis=1)]
            assert found[f"dot:{name}"] == pytest.approx(dot / np.sqrt((observed**2).mean()), rel=1e-4)
        for kind, place in zip(("user_id", "item_id"), places, strict=True):
            table = snapshot.entities[kind]
            assert [found[f"{kind}:{name}"] for name in table.names] == table.values[place].tolist()


def rate_by_hand(rows: list[tuple[Any, float | None]], least: float) -> dict[Any, float]:
    """Count and shrink with dictionaries; a value of at least `least` is a success, None is unknown."""
    tally: dict[Any, list[int]] = {}
    for who, value in rows:
        successes, trials = tally.setdefault(who, [0, 0])
        if value is not None:
            tally[who] = [successes + (value >= least), trials + 1]
    a, b = fit_beta_binomial(*(np.array(column) for column in zip(*tally.values(), strict=True)))
    prior = {None: np.log(a / b)}
    return {who: np.log((k + a) / (m - k + b)) for who, (k, m) in tally.items()} | prior


class TestRates:
    @pytest.mark.parametrize("kind", ["user_id", "item_id", "creator_id", "category"])
    @pytest.mark.parametrize("name", ["liked", *SIGNALS])
    def test_equal_the_formula(
        self, log: EventLog, snapshot: Snapshot, day: Day, kind: str, name: str
    ) -> None:
        known = known_before(log.exposures, day(CUT)).drop_nulls(kind)
        values = known[name].cast(pl.Float64)
        positive = known_before(log.exposures, day(CUT))["dwell_seconds"].drop_nulls()
        least = float(positive.filter(positive > 0).median()) if name == "dwell_seconds" else 1.0
        expected = rate_by_hand(list(zip(known[kind], values, strict=True)), least)
        table = snapshot.entities[kind]
        found = table.values[:, table.names.index(f"rate:{name}")]
        ids = [*table.index.ids, None]
        np.testing.assert_allclose(found, [expected[who] for who in ids], rtol=1e-3, atol=1e-3)

    def test_exposures_are_counted_and_nobody_new_has_any(
        self, log: EventLog, snapshot: Snapshot, day: Day
    ) -> None:
        table = snapshot.entities["user_id"]
        counts = dict(known_before(log.exposures, day(CUT))["user_id"].value_counts().rows())
        found = table.values[:, table.names.index("ln_exposures")]
        logs = [np.log1p(counts[who]) for who in table.index.ids]
        np.testing.assert_allclose(found, np.array([*logs, 0.0]) - np.mean(logs), atol=1e-12)

    def test_unseen_entities_get_the_prior(self, snapshot: Snapshot) -> None:
        pair = pl.DataFrame(
            {"user_id": [None, -5], "item_id": [None, -5]},
            schema=dict.fromkeys(("user_id", "item_id"), pl.Int64),
        )
        for row in snapshot.pair_features(snapshot.place(pair)):
            found = dict(zip(snapshot.names, row, strict=True))
            for kind, table in snapshot.entities.items():
                assert [found[f"{kind}:{name}"] for name in table.names] == table.values[-1].tolist()
            assert [found[f"dot:{name}"] for name in snapshot.factors] == [0.0] * len(snapshot.factors)

    def test_likes_without_a_view_feed_factors_only(
        self, draw_events: Draw, read_event_log: Read, small: ModelSettings, day: Day
    ) -> None:
        snapshot = Snapshots(read_event_log(draw_events(1)), small, threads=1).at(day(13))
        orphan = snapshot.entities["item_id"].index.ids.index_of(5)
        table = snapshot.entities["item_id"]
        assert snapshot.factors["liked"].item_factors[orphan].any()
        assert table.values[orphan].tolist() == table.values[-1].tolist()


class TestUnknownSignals:
    @pytest.mark.parametrize("unknown", [None, 0.0])
    def test_null_is_unknown_and_zero_is_not(
        self, frame: pl.DataFrame, read_exposures: Read, small: ModelSettings, day: Day, unknown: float | None
    ) -> None:
        # Half of the rows lose their long view; unknown ones are as if only the others had been asked.
        lost = pl.col("user_id") % 2 == 0
        signal = pl.when(lost).then(pl.lit(unknown)).otherwise(pl.col("long_view").cast(pl.Float64))
        log = read_exposures(frame.with_columns(signal.alias("long_view")))
        table = Snapshots(log, small, threads=1).at(day(CUT)).entities["user_id"]
        column = table.values[:, table.names.index("rate:long_view")]
        of_the_lost = column[:-1][(table.index.ids % 2 == 0).to_numpy()]
        assert (of_the_lost == column[-1]).all() == (unknown is None)

    def test_null_and_zero_leave_no_trace_in_factors(
        self, frame: pl.DataFrame, read_exposures: Read, small: ModelSettings, day: Day
    ) -> None:
        found = []
        for unknown in (None, 0.0):
            rows = frame.with_columns(
                pl.when("long_view").then(pl.lit(1.0)).otherwise(pl.lit(unknown)).alias("long_view")
            )
            snapshot = Snapshots(read_exposures(rows), small, threads=1).at(day(CUT))
            found.append(snapshot.factors["long_view"].item_factors.tobytes())
        assert found[0] == found[1]

    @pytest.mark.parametrize("least", [1, 50, 10_000])
    def test_signal_needs_enough_positive_rows_before_the_cut(
        self, log: EventLog, small: ModelSettings, day: Day, least: int
    ) -> None:
        settings = small.model_copy(update={"min_signal_rows": least})
        known = known_before(log.exposures, day(0.5))
        expected = tuple(name for name in log.signals if (known[name] > 0).sum() >= least)
        assert usable_signals(log, day(0.5), settings) == expected
        snapshot = Snapshots(log, settings, threads=1).at(day(0.5))
        assert {*snapshot.skipped} == {*log.signals} - {*expected}
        assert [*snapshot.factors] == ["exposed", *expected, "liked"]

    def test_nothing_before_the_cut_is_refused(self, log: EventLog, small: ModelSettings, day: Day) -> None:
        with pytest.raises(DataError, match=r"no exposure lies before 2025-12-31.*shorten windows"):
            Snapshots(log, small, threads=1).at(day(-1))


class TestLinks:
    @pytest.fixture
    def moved(self, log: EventLog, small: ModelSettings, day: Day) -> Snapshot:
        """Item 1 was first of creator 3, then of 4; who made item 2 nobody said after the first time."""
        rows = log.exposures.head(6).with_columns(
            pl.Series("item_id", [1, 1, 1, 2, 2, 3]),
            pl.Series("creator_id", [4, 3, None, None, 7, None], dtype=pl.Int32),
            pl.Series("timestamp", [day(2), day(1), day(3), day(2), day(1), day(1)]).cast(
                log.exposures.schema["timestamp"]
            ),
        )
        return Snapshots(replace(log, exposures=rows), small, threads=1).at(day(CUT))

    @staticmethod
    def creators(snapshot: Snapshot, items: list[int], **given: Any) -> list[int | None]:
        pairs = pl.DataFrame({"user_id": [0] * len(items), "item_id": items, **given})
        ids = snapshot.entities["creator_id"].index.ids
        places = snapshot.place(pairs).places["creator_id"].tolist()
        return [ids[place] if place >= 0 else None for place in places]

    def test_last_known_creator(self, moved: Snapshot) -> None:
        assert self.creators(moved, [1, 2, 3, 99]) == [4, 7, None, None]

    def test_what_a_pair_says_beats_the_log(self, moved: Snapshot) -> None:
        given = {"creator_id": [7, None, 3, 4, 555]}
        assert self.creators(moved, [1, 1, 3, 99, 2], **given) == [7, 4, 3, 4, None]


def draw_counts(
    seed: int, a: float, b: float, entities: int = 3000
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    trials = rng.integers(0, 80, entities)
    return rng.binomial(trials, rng.beta(a, b, entities)), trials


class TestBetaBinomial:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize(("a", "b"), [(0.6, 14.0), (2.0, 2.0), (30.0, 5.0)])
    def test_recovers_what_was_planted(self, seed: int, a: float, b: float) -> None:
        found = fit_beta_binomial(*draw_counts(seed, a, b))
        np.testing.assert_allclose(found, [a, b], rtol=0.2)

    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("entities", [5, 200])
    def test_no_other_a_and_b_are_likelier(self, seed: int, entities: int) -> None:
        k, m = draw_counts(seed, 0.8, 6.0, entities)

        def loss(ln_ab: NDArray[np.float64]) -> float:
            return -float(betabinom.logpmf(k, m, *np.exp(np.clip(ln_ab, -12, 14))).sum())

        starts = [[x, y] for x in (-2.0, 2.0) for y in (0.0, 4.0)]
        oracle = min(minimize(loss, start, method="Nelder-Mead").fun for start in starts)
        assert loss(np.log(fit_beta_binomial(k, m))) < oracle + 1e-3

    @pytest.mark.parametrize(
        ("k", "m"),
        [
            ([], []),
            ([0], [0]),
            ([0, 0], [0, 0]),
            ([0] * 5, [9] * 5),
            ([9] * 5, [9] * 5),
            ([0, 7], [7, 7]),
            ([1], [1]),
        ],
    )
    def test_survives_counts_that_say_little(self, k: list[int], m: list[int]) -> None:
        a, b = fit_beta_binomial(np.array(k, int), np.array(m, int))
        assert 0 < a < np.inf
        assert 0 < b < np.inf
        shrunk = shrunk_log_odds(np.array(k, int), np.array(m, int))
        assert shrunk.shape == (len(k) + 1,)
        assert np.isfinite(shrunk).all()

    def test_entities_without_trials_say_nothing(self) -> None:
        k, m = draw_counts(1, 2.0, 9.0)
        padded = [np.append(counts, np.zeros(500, int)) for counts in (k, m)]
        assert fit_beta_binomial(k, m) == fit_beta_binomial(*padded)

    def test_shrinks_towards_the_prior_and_less_with_more_trials(self) -> None:
        k, m = draw_counts(2, 2.0, 9.0)
        a, b = fit_beta_binomial(k, m)
        found = shrunk_log_odds(np.append(k, [0, 0]), np.append(m, [5, 70]))
        assert found[-2] < found[-3] < found[-1] == pytest.approx(np.log(a / b), rel=0.05)
