"""A profile says what was planted; a proposal reads the log it was made for."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config import Settings, load_settings
from recsys.errors import ConfigError, DataError, InputError
from recsys.events import describe, measure, profile, propose_config, read, read_events

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("RECSYS_SHARED", ROOT.parent / "shared"))
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
FRAME = pl.DataFrame(
    {
        "user_id": [1, 1, 1, 2, 3, None],
        "item_id": ["a", "b", "b", "a", "c", "a"],
        "timestamp": [NOON + timedelta(hours=hours) for hours in (0, 1, 1, 13, 14, 15)],
        "liked": [1, 0, 0, 0, 0, 0],
        "clicks": [3.0, 0.0, 0.0, None, None, None],
        "creator_id": [7, 7, 7, None, 8, 9],
        "item_created_at": [NOON, None, NOON, None, NOON + timedelta(hours=20), None],
        "history_only": [True, False, False, False, False, False],
    }
)


def test_a_profile_says_what_is_in_the_log() -> None:
    found = profile(read_events(FRAME, signals=["clicks"], outcomes=["clicks"], max_refused=0.5))
    assert json.loads(json.dumps(found)) == found
    assert found == {
        "as_of": "2024-05-02T02:00:00.000001+00:00",
        "rows": {
            "read": 6,
            "accepted": 4,
            "refused": 1,
            "duplicates": 1,
            "unsettled": 0,
            "folded": 0,
            "likes_without_view": 0,
            "history_only": 1,
        },
        "reasons": {"user_id_missing_or_unparseable": 1},
        "users": 3,
        "items": 3,
        "creators": 2,
        "first": "2024-05-01T12:00:00+00:00",
        "last": "2024-05-02T02:00:00+00:00",
        "days": 2,
        "positives_only": False,
        "like_rate": 0.25,
        "like_rate_without_history": 0.0,
        "exposures_a_user": {"lower_quartile": 1.0, "median": 1.0, "upper_quartile": 1.5},
        "signals": {"clicks": {"known": 0.5, "positive": 0.5}},
        "outcomes": {"clicks": {"known": 0.5, "positive": 0.5}},
        "item_created_at": {"known": 0.5, "after_exposure": 0.5},
    }


def test_a_profile_is_a_page() -> None:
    page = describe(profile(read_events(FRAME, signals=["clicks"], max_refused=0.5))).splitlines()
    assert len(page) < 25
    assert "rows read                           6" in page
    assert "    user_id_missing_or_unparseable  1" in page
    assert "signal clicks                       known in 50.0 %, positive in 50.0 % of these" in page


@pytest.mark.parametrize("missing", [["liked"], ["liked", "creator_id", "history_only"]])
def test_what_cannot_be_known_is_none(missing: list[str]) -> None:
    found = profile(read_events(FRAME.drop(missing), max_refused=0.5))
    assert found["positives_only"] is True
    assert found["like_rate"] is None
    assert (found["creators"] is None) is ("creator_id" in missing)
    assert "not estimable" in describe(found)


def test_a_log_of_history_alone_has_a_profile() -> None:
    found = profile(read_events(FRAME.with_columns(history_only=True), max_refused=0.5))
    assert found["like_rate_without_history"] is None
    assert "-" in describe(found)


def test_likes_without_a_view_are_counted_apart() -> None:
    kinds = {"user_id": [1, 2, 3], "item_id": 1, "timestamp": NOON, "event_type": ["VIEW", "VIEW", "LIKE"]}
    frame = pl.concat(
        [pl.DataFrame(kinds), pl.DataFrame(kinds).head(1).with_columns(event_type=pl.lit("LIKE"))]
    )
    types = {"view": ["VIEW"], "like": ["LIKE"]}
    found = profile(read_events(frame, layout="event_log", event_types=types))
    assert (found["users"], found["like_rate"], found["rows"]["likes_without_view"]) == (2, 0.5, 1)


def test_measure_counts_all_rows(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "x.parquet")
    size = measure(Settings().events.model_copy(update={"path": str(tmp_path / "x.parquet")}))
    assert (size.rows, size.users, size.items) == (6, 4, 3)


def proposed(frame: pl.DataFrame, folder: Path, name: str = "log.parquet") -> tuple[str, Settings]:
    if name.endswith(".csv"):
        frame.write_csv(folder / name)
    else:
        frame.write_parquet(folder / name)
    text = propose_config(folder / name)
    (folder / "recsys.toml").write_text(text, encoding="utf-8")
    return text, load_settings(folder)


@pytest.mark.parametrize(
    ("user", "item", "time"),
    [
        ("user_id", "item_id", "timestamp"),
        ("userId", "movieId", "ts"),
        ("uid", "video_id", "time_ms"),
        ("personId", "contentId", "timestamp"),
        ("VIEWER_USER_ID", "target item id", "created_at"),
        ("customer-id", "sku", "seen"),
    ],
)
@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_columns_are_guessed_by_name_and_value(
    user: str, item: str, time: str, name: str, tmp_path: Path
) -> None:
    unit = 1000 if time.endswith("ms") else 1
    rows = range(42)
    frame = pl.DataFrame(
        {
            user: rows,
            item: [f"i{row}" for row in rows],
            time: [(int(NOON.timestamp()) + 28_800 * row) * unit for row in rows],
            "liked": [row % 2 for row in rows],
        }
    )
    _, settings = proposed(frame, tmp_path, name)
    columns = settings.events.columns
    assert (columns.user, columns.item, columns.time, columns.like) == (user, item, time, "liked")
    assert settings.events.time_unit == ("ms" if unit == 1000 else "s")
    assert settings.windows.test == settings.windows.calibrate == timedelta(days=3)
    assert read(settings.events).counts.accepted == 42


@pytest.mark.parametrize(
    ("column", "values", "guessed"),
    [
        ("upload_dt", ["2024-04-30", "2024-05-01"], True),
        ("publishedAt", [1_714_000_000, 1_714_100_000], True),
        ("item_created_at", [NOON, None], True),
        ("upload_dt", [20240430, 20240501], False),
        ("created_at", [NOON, NOON], False),
    ],
)
def test_when_an_item_was_created_is_guessed(
    column: str, values: list[Any], guessed: bool, tmp_path: Path
) -> None:
    _, settings = proposed(_small(**{column: values}, liked=[0, 1]), tmp_path)
    assert settings.events.columns.item_created_at == (column if guessed else None)
    assert settings.events.columns.time == "timestamp"
    assert ("item_created_at" in read(settings.events).exposures.columns) is guessed


@pytest.mark.parametrize(
    ("column", "values", "like"),
    [
        ("isLike", [0, 1], "isLike"),
        ("like", [True, False], "like"),
        ("rating", [0.5, 5.0], "rating >= 4"),
        ("stars", [1, 10], "stars >= 8"),
        ("user rating", [1, 90], None),
        ("score", [-3, 60], "score >= 80"),
        ("likes", [0, 17], None),
    ],
)
def test_the_like_is_a_flag_or_a_high_rating(
    column: str, values: list[Any], like: str | None, tmp_path: Path
) -> None:
    text, settings = proposed(_small(**{column: values}), tmp_path)
    assert settings.events.columns.like == like
    assert ("every row counts as liked" in text) is (like is None)


def _small(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": [1, 2], "item_id": [1, 2], "timestamp": [NOON, NOON + timedelta(hours=20)], **columns}
    )


def test_flags_are_candidates_and_the_rest_is_named(tmp_path: Path) -> None:
    frame = _small(
        liked=[0, 1], long_view=[True, False], is_hate=[1, 0], is_rand=[0, 1], always=[1, 1], plays=[0, 7],
        play_time_ms=[5, 9], author=["x", "y"], tags=[["a"], ["b"]], genre=["g", "h"], order_only=[True, False],
    )  # fmt: skip
    text, settings = proposed(frame, tmp_path)
    assert settings.events.signals == ("long_view",)
    assert settings.events.outcomes == ("long_view", "is_hate")
    columns = settings.events.columns
    assert (columns.dwell, columns.creator, columns.category) == ("play_time_ms / 1000.0", "author", "genre")
    assert columns.history_only == "order_only"
    assert "# not used: always, plays, tags\n" in text
    assert settings.windows.test == timedelta(hours=1)
    assert read(settings.events).exposures["dwell_seconds"].to_list() == pytest.approx([0.005, 0.009])


def test_an_event_log_is_recognised(tmp_path: Path) -> None:
    kinds = (
        ["VIEW"] * 5 + ["LIKE"] * 2 + ["COMMENT CREATED", "VIEW ALL", "UNLIKE", "отзыв", "Отзыв", "filter"]
    )
    times = [NOON + timedelta(minutes=minute) for minute in range(len(kinds))]
    frame = pl.DataFrame({"personId": 1, "contentId": 2, "timestamp": times, "eventType": kinds})
    _, settings = proposed(frame, tmp_path)
    assert settings.events.layout == "event_log"
    assert settings.events.event_types == {
        "view": ("VIEW", "VIEW ALL"),
        "like": ("LIKE",),
        "comment_created": ("COMMENT CREATED",),
        "unlike": ("UNLIKE",),
        "event_filter": ("filter",),
        "отзыв": ("Отзыв", "отзыв"),
    }
    assert settings.events.outcomes == ("comment_created", "unlike", "event_filter", "отзыв")
    assert read(settings.events).exposures["liked"].sum() == 1


def test_an_event_log_without_likes_says_so(tmp_path: Path) -> None:
    text, settings = proposed(_small(action=["play", "skip"]), tmp_path)
    assert "no type looks like a like" in text
    assert settings.events.event_types["view"] == ("play",)
    assert read(settings.events).positives_only


def test_a_unit_in_doubt_is_left_to_the_reader(tmp_path: Path) -> None:
    text, settings = proposed(_small(liked=[0, 1]).with_columns(timestamp=pl.Series([5, 6])), tmp_path)
    assert '# time_unit = "s"' in text
    assert settings.events.time_unit is None


@pytest.mark.parametrize(
    ("renamed", "says"),
    [
        (
            {"user_id": "who"},
            "no column looks like the user: .* there are 'who', 'item_id', 'timestamp', 'liked'",
        ),
        ({"item_id": "what"}, "no column looks like the item"),
        ({"item_id": "old_video_id", "liked": "new_video_id"}, "no column looks like the item"),
        ({"timestamp": "when", "liked": "day"}, None),
    ],
)
def test_a_column_that_cannot_be_guessed_is_asked_for(
    renamed: dict[str, str], says: str | None, tmp_path: Path
) -> None:
    frame = _small(liked=[0, 1]).rename(renamed)
    if says is None:
        frame = frame.with_columns(when=pl.Series(["monday", "tuesday"]))
        says = "no column looks like the time"
    with pytest.raises(ConfigError, match=says):
        proposed(frame, tmp_path)


def test_nothing_is_proposed_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        proposed(_small().clear(), tmp_path)
    with pytest.raises(InputError, match="there is no log"):
        propose_config(tmp_path / "none.parquet")


def test_odd_names_are_quoted(tmp_path: Path) -> None:
    frame = _small(
        **{'my "rating"': [1, 2], "rating": [1.0, 5.0], "is\\open": [0, 1], "row": [0, 1], "ü click": [1, 0]}
    )
    _, settings = proposed(frame, tmp_path)
    assert settings.events.signals == ("is\\open", "ü click")
    assert read(settings.events).signals == ("is\\open", "ü click")


def test_the_path_starts_where_the_text_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _small(liked=[0, 1]).write_parquet(tmp_path / "log.parquet")
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "recsys.toml").write_text(propose_config("log.parquet", folder="conf"))
    assert 'path = "log.parquet"' in propose_config("log.parquet")
    assert read(load_settings("conf").events).counts.read == 2


@pytest.mark.parametrize(
    "log", [ROOT / "data" / "sample" / "events.parquet", SHARED / "data" / "kuairand_pure" / "events.parquet"]
)
def test_real_logs_are_read_as_proposed(log: Path, tmp_path: Path) -> None:
    if not log.exists():
        pytest.skip(f"{log} is not there")
    (tmp_path / "recsys.toml").write_text(propose_config(log), encoding="utf-8")
    settings = load_settings(tmp_path)
    read_log = read(settings.events)
    assert read_log.counts.refused == 0
    assert not read_log.positives_only
    assert settings.events.signals
    assert len(describe(profile(read_log)).splitlines()) < 40
