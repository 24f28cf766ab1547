"""Small logs with planted truth, drawn from a seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

from recsys.config import ModelSettings
from recsys.events import EventLog, read_events

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Their checks are asserts too.
pytest.register_assert_rewrite("pages", "engines")

# There is a process a core: OpenMP threads that wait for one another cost more than trees on such small logs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

#: The longest, in the order in which they begin, so that at the end no process waits for one of them.
FIRST = [
    *(
        "spark_snapshots",
        "spark",
        "spark_cluster",
        "audit_runs",
        "solver",
        "process",
        "tuning",
        "audit_worlds",
    ),
    *("evaluation", "readme", "audit_residual", "simulation_knobs", "model", "cron", "gates", "cli"),
]

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 12
EVENT_TYPES = {"view": ["VIEW"], "like": ["LIKE"], "long_view": ["LONG"]}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"test_{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(Path(item.path).name, len(FIRST)))


@pytest.fixture(scope="session")
def small() -> ModelSettings:
    return ModelSettings(factors=6, iterations=4, min_signal_rows=20)


@pytest.fixture(scope="session")
def draw_frame() -> Callable[..., pl.DataFrame]:
    """Draw exposures in no order, no two at the same time; `p_like` is the truth."""

    def draw(seed: int, rows: int = 5000, users: int = 120, items: int = 60) -> pl.DataFrame:
        rng = np.random.default_rng(seed)
        taste, appeal = rng.normal(size=(users, 3)), rng.normal(size=(items, 3)) / np.sqrt(3)
        habit, quality = rng.normal(size=users), rng.normal(size=items) / 2
        user = rng.choice(users, rows, p=rng.dirichlet(np.full(users, 1.5)))
        item = rng.choice(items, rows, p=rng.dirichlet(np.full(items, 1.5)))
        fit = (taste[user] * appeal[item]).sum(axis=1)
        p_like = expit(-2.2 + habit[user] + quality[item] + 1.2 * fit)
        dwell = np.where(rng.random(rows) < 0.1, np.nan, np.exp(2 + 0.7 * fit + rng.normal(size=rows)))
        micros = rng.choice(DAYS * 86_400, rows, replace=False) * 1_000_000 + 7
        return pl.DataFrame(
            {
                "user_id": 10 + 3 * user,
                "item_id": 1000 + 7 * item,
                "timestamp": pl.Series(micros).cast(pl.Duration("us")) + START,
                "liked": rng.random(rows) < p_like,
                "long_view": rng.random(rows) < expit(fit - 0.5),
                "dwell_seconds": pl.Series(dwell.round(1)).fill_nan(None),
                "creator_id": pl.Series(item % 12).replace(0, None).cast(pl.Int32),
                "category": pl.Series(item % 5).cast(pl.String),
                "history_only": rng.random(rows) < 0.1,
                "p_like": p_like,
            }
        )

    return draw


@pytest.fixture(scope="session")
def draw_events(draw_frame: Callable[..., pl.DataFrame]) -> Callable[..., pl.DataFrame]:
    """Draw an event log whose likes come up to a day after the view, and some without one."""

    def draw(seed: int, **sizes: int) -> pl.DataFrame:
        views = draw_frame(seed, **sizes)
        rng = np.random.default_rng(seed + 1)
        delay = pl.Series(rng.integers(1, 86_000, len(views)) * 1_000_000).cast(pl.Duration("us"))
        parts = [
            views.with_columns(event_type=pl.lit("VIEW")),
            views.with_columns(pl.col("timestamp") + delay, event_type=pl.lit("LIKE")).filter("liked"),
            views.with_columns(pl.col("timestamp") + delay / 9, event_type=pl.lit("LONG")).filter(
                "long_view"
            ),
            views.head(40).with_columns(
                item_id=pl.lit(5, pl.Int64), creator_id=pl.lit(1, pl.Int32), event_type=pl.lit("LIKE")
            ),
        ]
        dropped = ("liked", "long_view", "p_like", "history_only")
        return pl.concat(parts).drop(dropped).sample(fraction=1, shuffle=True, seed=seed)

    return draw


@pytest.fixture(scope="session")
def read_exposures() -> Callable[..., EventLog]:
    def read(frame: pl.DataFrame, **settings: Any) -> EventLog:
        return read_events(frame, **{"signals": ["long_view"], **settings})

    return read


@pytest.fixture(scope="session")
def read_event_log() -> Callable[..., EventLog]:
    def read(frame: pl.DataFrame, **settings: Any) -> EventLog:
        described = {"layout": "event_log", "event_types": EVENT_TYPES, "signals": ["long_view"]}
        return read_events(frame, **{**described, **settings})

    return read


@pytest.fixture(scope="session")
def frame(draw_frame: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    return draw_frame(seed=1)


@pytest.fixture(scope="session")
def log(frame: pl.DataFrame, read_exposures: Callable[..., EventLog]) -> EventLog:
    return read_exposures(frame)


@pytest.fixture(scope="session")
def day() -> Callable[[float], datetime]:
    """Name an instant by its day in the log."""
    return lambda number: START + timedelta(days=number)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """Open Spark on two threads, for small work: little to compile, few parts, no page."""
    pytest.importorskip("pyspark", reason="needs the extra spark")
    from recsys.config import SparkSettings
    from recsys.engines.spark import open_session
    from recsys.errors import ConfigError

    options = {
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.sql.codegen.wholeStage": "false",
        "spark.driver.memory": "1g",
        "spark.driver.extraJavaOptions": "-XX:+UseSerialGC",
    }
    try:
        session = open_session(SparkSettings(master="local[2]", options=options))
    except ConfigError as error:
        pytest.skip(str(error))
    yield session
    session.stop()
