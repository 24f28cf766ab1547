"""The engine spark: what was known before a cut, and who is recommended what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import EVENT_TYPES
from snapshots import require_equal

pyspark = pytest.importorskip("pyspark", reason="needs the extra spark")

from pyspark.sql import DataFrame, SparkSession  # noqa: E402
from spark_logs import given, in_spark  # noqa: E402

from recsys import store  # noqa: E402
from recsys.config import (  # noqa: E402
    EventsSettings,
    ModelSettings,
    OutputSettings,
    Settings,
    WindowsSettings,
)
from recsys.engines.spark import (  # noqa: E402
    Order,
    Records,
    SparkFactors,
    SparkSnapshots,
    collect,
    collect_snapshot,
    rank_everyone,
)
from recsys.errors import OutputError  # noqa: E402
from recsys.events import EventLog  # noqa: E402
from recsys.features import Snapshot, Snapshots  # noqa: E402
from recsys.model import Wanted, WillLikeModel, fit_model  # noqa: E402
from recsys.pipeline import Job, load_model, predict, run  # noqa: E402
from recsys.pipeline._where import InSpark, placed  # noqa: E402
from recsys.schema import ITEM, LIKED, USER, Predictions  # noqa: E402
from recsys.split import known_before, split_by_time  # noqa: E402
from recsys.store import (  # noqa: E402
    PartWriter,
    list_runs,
    read_manifest,
    read_predictions,
    verify,
)


@pytest.fixture(scope="module")
def log(draw_events: Callable[..., pl.DataFrame], read_event_log: Callable[..., EventLog]) -> EventLog:
    """Read events: likes come after the views, and some after the cut."""
    return read_event_log(draw_events(1))


@pytest.fixture(scope="module")
def whole(log: EventLog, small: ModelSettings, day: Callable[[float], datetime]) -> Snapshot:
    return Snapshots(log, small, 1).at(day(8))


@pytest.fixture(scope="module")
def snapshots(log: EventLog, spark: SparkSession, small: ModelSettings, whole: Snapshot) -> SparkSnapshots:
    """Hold everyone in Spark, and as the sample; factors are those of the local engine."""
    held = in_spark(log, spark)
    records = Records.of(held)
    return SparkSnapshots(held.take_users(1.0, 0), small, 1, records, 1.0, given(whole, records, small))


def test_a_snapshot_of_spark_is_that_of_one_machine(snapshots: SparkSnapshots, whole: Snapshot) -> None:
    found = snapshots.at(whole.cut)
    assert len(found.entities[USER].index) == len(whole.entities[USER].index)
    require_equal(found, whole)


def test_each_pair_is_factorised_once_with_all_its_rows(
    log: EventLog, snapshots: SparkSnapshots, whole: Snapshot, small: ModelSettings
) -> None:
    asked = []

    def listen(rows: DataFrame, settings: ModelSettings, seed: int) -> SparkFactors:
        asked.append(sorted(collect(rows)["strength"]))
        return snapshots.factorise(rows, settings, seed)

    SparkSnapshots(snapshots.log, small, 1, snapshots.records, 1.0, listen).at(whole.cut)
    known = known_before(log.exposures, whole.cut, log.settle)
    exposed, liked = (rows.group_by(USER, ITEM).len()["len"] for rows in (known, known.filter(LIKED)))
    assert exposed.max() != 1
    assert asked[0] == sorted(exposed)
    assert asked[-1] == sorted(liked)
    assert len(asked) == len(whole.factors)


def test_few_users_are_one_piece_of_work(log: EventLog, spark: SparkSession) -> None:
    assert spark.conf.get("spark.sql.shuffle.partitions") != "1"
    assert Records.of(in_spark(log, spark)).table.rdd.getNumPartitions() == 1


def test_everyone_is_ranked_as_on_one_machine(
    log: EventLog, snapshots: SparkSnapshots, whole: Snapshot, small: ModelSettings, tmp_path: Path
) -> None:
    windows = split_by_time(WindowsSettings(test=timedelta(days=2)), whole.cut)
    head = fit_model(Snapshots(log, small, 1), windows.calibrate, windows.test.cut).head
    wanted, day = Wanted(7, (10,), None), date(2026, 1, 8)
    order = Order(head, wanted, "seen", day, "some")
    parts = rank_everyone(snapshots.everyone(whole.cut, whole.outcomes[1:]), order, PartWriter(str(tmp_path)))
    found = pl.concat(pl.read_parquet(tmp_path / part["file"]) for part in parts).sort(USER, "rank")
    assert [part["rows"] for part in parts] == [
        len(pl.read_parquet(tmp_path / part["file"])) for part in parts
    ]
    ours, theirs = (WillLikeModel(one, head, log, 1) for one in (snapshots.at(whole.cut), whole))
    expected = ours.recommend(n=7, candidates=10, exclude=log.shown)
    assert found.drop("as_of", "model_version").equals(expected)
    assert found.select("as_of", "model_version").unique().rows() == [(day, "some")]
    local = theirs.recommend(n=7, candidates=10, exclude=log.shown)
    both = found.join(local, on=[USER, ITEM])
    assert len(both) > 0.99 * len(found)
    np.testing.assert_allclose(both["will_like"], both["will_like_right"], atol=1e-5)


def test_a_model_of_everyone_is_collected_whole(snapshots: SparkSnapshots, whole: Snapshot) -> None:
    sample = snapshots.at(whole.cut)
    found = collect_snapshot(snapshots.everyone(whole.cut, whole.outcomes[1:]), sample)
    ours, theirs = (WillLikeModel(one, None).to_files() for one in (found, sample))
    assert ours == theirs


@pytest.fixture(scope="module")
def settings(
    draw_events: Callable[..., pl.DataFrame], small: ModelSettings, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Describe a log of events, which holds all that a log of exposures does, and more."""
    folder = tmp_path_factory.mktemp("log")
    draw_events(1).drop("dwell_seconds").write_parquet(folder / "log.parquet")
    return Settings(
        events=EventsSettings(
            path=str(folder / "log.parquet"),
            layout="event_log",
            event_types=EVENT_TYPES,
            signals=("long_view",),
            settle=timedelta(hours=30),
        ),
        model=small.model_copy(update={"cuts": 1, "iterations": 2}),
        output=OutputSettings(top_n=10),
    )


def job_for(settings: Settings, engine: str, out: Path) -> Job:
    model = settings.model.model_copy(update={"engine": engine})
    output = settings.output.model_copy(update={"path": str(out)})
    return Job("run", settings.model_copy(update={"model": model, "output": output}), threads=1)


@pytest.fixture(scope="module")
def published(spark: SparkSession, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("spark")
    run(job_for(settings, "spark", out))
    return out


def test_the_whole_job_runs_in_spark_and_publishes_what_the_local_one_does(
    published: Path, settings: Settings, tmp_path: Path
) -> None:
    local = run(job_for(settings, "local", tmp_path))
    assert not verify(published).damages
    manifest = read_manifest(list_runs(published)[0])
    rows = {name: manifest["rows"][name] for name in asdict(local.counts)}
    assert rows == asdict(local.counts)
    assert min(rows["folded"], rows["likes_without_view"], rows["unsettled"]) > 0
    assert manifest["versions"]["pyspark"] == pyspark.__version__
    entropy = local.evaluation.metrics["normalized_entropy"].value
    assert abs(manifest["metrics"]["normalized_entropy"]["value"] - entropy) < 0.02
    found, expected = (read_predictions(out) for out in (published, tmp_path))
    assert found.schema == expected.schema
    Predictions.validate(found)
    assert manifest["rows"]["predicted"] == len(found) == len(expected)
    assert set(found[USER]) == set(expected[USER])
    # The model that was published gives, on this machine, what Spark wrote.
    model = load_model(published, threads=1)
    asked = model.predict_proba(found.select(USER, ITEM))
    np.testing.assert_allclose(asked["will_like"], found["will_like"], atol=1e-6)


def test_a_published_model_predicts_in_spark_as_on_one_machine(published: Path, settings: Settings) -> None:
    users = pl.DataFrame({USER: [10, 13, 13, 999_999]})
    items = read_predictions(published).select(ITEM).unique().head(40)
    found = []
    for engine in ("local", "spark"):
        job = job_for(settings, engine, published)
        predict(job, users=users, items=items)
        found.append(read_predictions(published).drop("as_of").sort(USER, "rank"))
    assert found[0][USER].n_unique() == 3
    assert found[0].equals(found[1])


def test_where_executors_do_not_see_the_output_folder_nothing_is_published(
    published: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(published.rglob("*"))
    monkeypatch.setattr(store, "PartWriter", lambda folder: PartWriter(f"{folder}/elsewhere"))
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        predict(job_for(settings, "spark", published), users=pl.DataFrame({USER: [10, 13]}))
    assert sorted(published.rglob("*")) == before


def test_a_job_that_is_stopped_with_its_java_ends_as_stopped(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(place: InSpark) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(InSpark, "release", refused)
    job = job_for(settings, "spark", tmp_path)
    for stop, seen in ((SystemExit(143), SystemExit), (RuntimeError(), ConnectionRefusedError)):
        with pytest.raises(seen), placed(job):
            raise stop
