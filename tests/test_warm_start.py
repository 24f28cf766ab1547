"""A fit that starts from an earlier one: who may, from where, and that nothing drifts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from implicit.cpu._als import calculate_loss
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys import pipeline
from recsys.config import ModelSettings, Settings
from recsys.engines import LocalEngine
from recsys.errors import UsageError
from recsys.events import EventLog
from recsys.factors import Factors
from recsys.features import Snapshots, _behaviour
from recsys.features._carry import carry_factors
from recsys.matrix import IdIndex, UserItems, confidences
from recsys.pipeline import Job

SETTINGS = ModelSettings(factors=8, regularization=0.5)
Draw = Callable[..., pl.DataFrame]
Day = Callable[[float], datetime]
Ids = NDArray[np.int32]


class TestNights:
    """A log that grows by a hundredth a night."""

    @staticmethod
    def draw(rng: np.random.Generator, n: int) -> tuple[Ids, Ids]:
        users, items = rng.integers(0, 300, 9 * n, np.int32), rng.integers(0, 120, 9 * n, np.int32)
        groups = (users * 7919 % 5, items * 104729 % 5)
        kept = rng.random(9 * n) < np.where(groups[0] == groups[1], 0.6, 0.1)
        return users[kept][:n], items[kept][:n]

    @staticmethod
    def loss(matrix: UserItems, found: Factors) -> float:
        weights = confidences(matrix, SETTINGS.alpha)
        return float(
            calculate_loss(weights, found.user_factors, found.item_factors, SETTINGS.regularization, 1)
        )

    def test_after_thirty_nights_the_loss_is_that_of_a_cold_fit(self) -> None:
        rng, engine = np.random.default_rng(0), LocalEngine(1)
        users, items = self.draw(rng, 5_000)
        warm: Factors | None = None
        for _ in range(31):
            matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), (300, 120))
            warm = engine.fit(matrix, SETTINGS, 0, warm)
            # Night after night it comes closer to where a cold fit would end if it were given the time.
            cold, patient = (
                self.loss(matrix, engine.fit(matrix, SETTINGS.model_copy(update={"iterations": n}), 0))
                for n in (15, 150)
            )
            assert 0.98 * patient < self.loss(matrix, warm) < 1.005 * cold
            more = self.draw(rng, 50)
            users, items = np.append(users, more[0]), np.append(items, more[1])

    def test_it_stops_when_an_iteration_gains_too_little(self) -> None:
        users, items = self.draw(np.random.default_rng(0), 5_000)
        matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), (300, 120))
        far = SETTINGS.model_copy(update={"iterations": 60})
        ended = LocalEngine(1).fit(matrix, far, 0)

        def on(tolerance: float, iterations: int) -> bytes:
            changed = {"warm_tolerance": tolerance, "iterations": iterations}
            found = LocalEngine(1).fit(matrix, SETTINGS.model_copy(update=changed), 0, ended)
            return found.item_factors.tobytes()

        assert on(0.01, 60) == on(1e-12, 2) != on(1e-12, 3)

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_threads_change_no_byte(self, threads: int) -> None:
        users, items = self.draw(np.random.default_rng(1), 3_000)
        matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), (300, 120))
        start = LocalEngine(1).fit(matrix, SETTINGS.model_copy(update={"iterations": 2}), 0)
        start.user_factors[5], start.item_factors[:9] = 0, 0
        found = [
            LocalEngine(one).fit(matrix, SETTINGS, 0, start).user_factors.tobytes() for one in (1, threads)
        ]
        assert found[0] == found[1]

    def test_rows_of_zeros_start_as_if_cold(self) -> None:
        users, items = self.draw(np.random.default_rng(2), 3_000)
        matrix = csr_matrix((np.ones(len(users), np.float32), (users, items)), (300, 120))
        nothing = Factors(np.zeros((300, 8), np.float32), np.zeros((120, 8), np.float32))
        settings = SETTINGS.model_copy(update={"warm_tolerance": 1e-9})
        warm, cold = (LocalEngine(1).fit(matrix, settings, 3, start) for start in (nothing, None))
        assert warm.user_factors.tobytes() == cold.user_factors.tobytes()


class TestSnapshots:
    def test_factors_follow_their_ids(self, log: EventLog, small: ModelSettings) -> None:
        earlier = Snapshots(log, small, 1).at(log.as_of)
        users, items = (earlier.entities[kind].index.ids for kind in ("user_id", "item_id"))
        now = {
            "user_id": IdIndex.of(pl.concat([users[3:], pl.Series([-5, 10**9], dtype=users.dtype)])),
            "item_id": IdIndex.of(items[::2]),
        }
        found = carry_factors(earlier, "liked", now, small.factors)
        assert found is not None
        known = dict(zip(users.to_list(), earlier.factors["liked"].user_factors.tolist(), strict=True))
        nothing = [0.0] * small.factors
        assert found.user_factors.tolist() == [known.get(one, nothing) for one in now["user_id"].ids]
        assert found.item_factors.tolist() == earlier.factors["liked"].item_factors[::2].tolist()

    def test_other_factors_other_signals_and_other_ids_start_cold(
        self, log: EventLog, small: ModelSettings
    ) -> None:
        earlier = Snapshots(log, small, 1).at(log.as_of)
        now = {kind: earlier.entities[kind].index for kind in ("user_id", "item_id")}
        assert carry_factors(earlier, "no_such_signal", now, small.factors) is None
        assert carry_factors(earlier, "liked", now, small.factors + 1) is None
        text = {kind: IdIndex.of(index.ids.cast(pl.String)) for kind, index in now.items()}
        assert carry_factors(earlier, "liked", text, small.factors) is None

    def test_a_later_snapshot_is_refused(self, log: EventLog, small: ModelSettings) -> None:
        snapshots = Snapshots(log, small, 1)
        later = snapshots.at(log.as_of)
        for cut in (log.as_of, log.as_of - timedelta(days=1)):
            with pytest.raises(UsageError, match="earlier cut"):
                snapshots.at(cut, start=later)


class TestJobs:
    """Nights of the command."""

    @pytest.fixture
    def night(
        self, tmp_path: Path, frame: pl.DataFrame, small: ModelSettings, log: EventLog
    ) -> Callable[..., dict[str, Any]]:
        frame.write_parquet(tmp_path / "log.parquet")

        def run(back: float, command: Callable[[Job], Any] = pipeline.train, **model: Any) -> dict[str, Any]:
            settings = Settings().model_copy(
                update={
                    "events": Settings().events.model_copy(update={"path": str(tmp_path / "log.parquet")}),
                    "model": small.model_copy(update={"warm_start": True, "cuts": 1, **model}),
                    "output": Settings().output.model_copy(update={"path": str(tmp_path / "out")}),
                }
            )
            result = command(Job("train", settings, log.as_of - timedelta(days=back), 1))
            found = json.loads((tmp_path / "out" / "runs" / result.run_id / "manifest.json").read_text())
            return dict(found, parents=[one for one in found["inputs"] if "warm_runs" in one])

        return run

    def test_the_parent_is_among_the_inputs(self, night: Callable[..., dict[str, Any]]) -> None:
        first, second = night(1.5), night(1)
        third = night(0.5)
        assert first["parents"] == []
        for parent, child, runs in ((first, second, 1), (second, third, 2)):
            (told,) = child["parents"]
            assert (told["model_version"], told["warm_runs"]) == (parent["model_version"], runs)
            assert told["as_of"] == parent["as_of"]

    def test_a_night_that_is_run_again_gives_the_same_model(
        self, night: Callable[..., dict[str, Any]]
    ) -> None:
        night(1)
        one, again = night(0.5), night(0.5)
        assert one["model_version"] == again["model_version"]
        assert one["parents"] == again["parents"] != []

    def test_cold_every_so_many_runs_and_where_there_is_nothing_earlier(
        self, night: Callable[..., dict[str, Any]]
    ) -> None:
        runs = [night(back, cold_every=2)["parents"] for back in (2, 1.5, 1, 0.5)]
        assert [len(parents) for parents in runs] == [0, 1, 0, 1]
        assert night(3)["parents"] == []

    def test_without_the_setting_nothing_is_read(self, night: Callable[..., dict[str, Any]]) -> None:
        night(1)
        assert night(0.5, warm_start=False)["parents"] == []

    def test_the_backtest_is_cold(
        self, night: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        night(1)
        started: list[bool] = []
        observe = _behaviour.observe_behaviour

        def spy(*given: Any) -> Any:
            started.append(given[6] is not None)
            return observe(*given)

        monkeypatch.setattr("recsys.features._take.observe_behaviour", spy)
        night(0.5, pipeline.evaluate)
        assert len(started) >= 2
        assert not any(started)
        started.clear()
        night(0.5, pipeline.run)
        assert started.count(True) == 1
        assert started[-1]
