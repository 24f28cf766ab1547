"""Each card reads a tiny hand-made file in the layout of its release."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config import load_settings
from recsys.events import EventLog, read
from recsys.split import split_by_time

ROOT = Path(__file__).parents[1]
CARDS = ROOT / "data" / "cards"
SHARED = Path(os.environ.get("RECSYS_SHARED", ROOT.parent / "shared"))
NAMES = ("deskdrop", "kuairand-pure", "movielens")

KUAIRAND_LOG = """\
user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,\
play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab
"""
KUAIRAND_EARLY = f"""{KUAIRAND_LOG}\
0,4000,20220409,100,1649437200123,1,1,0,0,0,0,1,20100,19000,0,0,0,0,1
0,4001,20220409,100,1649437260456,0,0,0,0,0,0,0,1500,0,0,0,0,0,1
0,4001,20220409,100,1649437260456,0,0,0,0,0,0,0,1500,0,0,0,0,0,1
"""
KUAIRAND_LATE = f"""{KUAIRAND_LOG}\
7,4000,20220426,2100,1650978000000,1,0,1,0,0,0,1,33000,30000,0,0,1,0,4
7,4002,20220430,2359,1651334399999,0,1,0,0,0,0,0,900,30000,0,0,0,0,4
7,4001,20220501,0,1651334400000,0,1,0,0,0,0,0,900,30000,0,0,0,0,4
"""
KUAIRAND_VIDEOS = """\
video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,music_id,\
music_type,tag
4000,11,NORMAL,2022-03-20,ShortImport,1,19000.0,720,1280,989206467,4.0,"12,65"
4001,11,NORMAL,2022-03-21,Web,1,,720,1280,3,9.0,8
4002,12,AD,2022-03-21,Kmovie,1,30000.0,720,1280,3,9.0,
"""
MOVIELENS = """\
userId,movieId,rating,timestamp
1,296,5.0,1147880044
1,306,3.5,1147868817
2,296,4.0,1141415820
162541,209171,0.5,1574327703
"""
DESKDROP = """\
timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry
1465413032,VIEW,-3499919498720038879,-8845298781299428018,1264196770339959068,,,
1465412560,VIEW,8890720798209849691,-1032019229384696495,3621737643587579081,"Mozilla/5.0 (Macintosh; like Gecko)",NY,US
1465413100,LIKE,-3499919498720038879,-8845298781299428018,1264196770339959068,,,
1465413190,FOLLOW,-3499919498720038879,-8845298781299428018,1264196770339959068,,,
1465412570,COMMENT CREATED,8890720798209849691,-1032019229384696495,3621737643587579081,,,
1465412580,BOOKMARK,8890720798209849691,-1032019229384696495,3621737643587579081,,,
1465500000,LIKE,8890720798209849691,-8845298781299428018,1264196770339959068,,,
"""


def read_card(name: str, events: Path) -> EventLog:
    settings = load_settings(CARDS / name, {"events": {"path": str(events)}}, environ={})
    return read(settings.events)


def code_of(name: str) -> str:
    (code,) = re.findall(
        r"```python\n(.*?)```", (CARDS / name / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    return str(code)


def test_kuairand_is_joined_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log_standard_4_08_to_4_21_pure.csv").write_text(KUAIRAND_EARLY)
    (tmp_path / "log_standard_4_22_to_5_08_pure.csv").write_text(KUAIRAND_LATE)
    (tmp_path / "video_features_basic_pure.csv").write_text(KUAIRAND_VIDEOS)
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of("kuairand-pure"), "README.md", "exec"), {})
    log = read_card("kuairand-pure", tmp_path / "events.parquet")
    assert log.exposures.select(
        "user_id", "item_id", "liked", "long_view", "creator_id", "category"
    ).rows() == [
        (0, 4000, True, 1.0, 11, "12,65"),
        (0, 4001, False, 0.0, 11, "8"),
        (7, 4000, False, 1.0, 11, "12,65"),
        (7, 4002, True, 0.0, 12, None),
    ]
    assert log.exposures["timestamp"][0] == datetime(2022, 4, 8, 17, 0, 0, 123_000, tzinfo=UTC)
    assert not log.exposures["history_only"].any()
    assert (log.counts.read, log.counts.refused, log.counts.duplicates) == (4, 0, 0)


def test_kuairand_windows_are_days_in_beijing() -> None:
    windows = split_by_time(
        load_settings(CARDS / "kuairand-pure").windows, datetime(2022, 4, 30, 16, tzinfo=UTC)
    )
    assert windows.calibrate.start == datetime(2022, 4, 24, 16, tzinfo=UTC)
    assert windows.test.start == windows.calibrate.end == datetime(2022, 4, 27, 16, tzinfo=UTC)


def test_kuairand_reads_the_shared_log() -> None:
    events = SHARED / "data" / "kuairand_pure" / "events.parquet"
    if not events.exists():
        pytest.skip(f"{events} is not there")
    log = read_card("kuairand-pure", events)
    assert (log.counts.read, log.counts.refused) == (983_643, 0)
    assert set(pl.read_parquet_schema(events)) >= set(_columns_of_the_card())
    assert (~log.exposures["history_only"]).sum() + log.counts.duplicates == 92_034


def _columns_of_the_card() -> list[str]:
    columns = load_settings(CARDS / "kuairand-pure").events.columns
    roles = columns.model_dump(exclude={"event_type", "groups"})
    return [name for name in (*roles.values(), *columns.groups.values()) if name is not None]


def test_movielens_likes_are_four_stars_and_more(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(MOVIELENS)
    log = read_card("movielens", tmp_path / "ratings.csv")
    assert log.exposures.select("user_id", "item_id", "liked").rows() == [
        (1, 296, True),
        (1, 306, False),
        (2, 296, True),
        (162541, 209171, False),
    ]
    assert log.exposures["timestamp"].max() == datetime(2019, 11, 21, 9, 15, 3, tzinfo=UTC)
    assert log.exposures["user_id"].dtype == pl.Int64


def test_deskdrop_is_folded_and_its_ids_keep_all_their_bits(tmp_path: Path) -> None:
    (tmp_path / "users_interactions.csv").write_text(DESKDROP)
    log = read_card("deskdrop", tmp_path / "users_interactions.csv")
    columns = ("user_id", "item_id", "liked", "bookmark", "follow", "comment", "factors_only")
    expected: list[tuple[Any, ...]] = [
        (-8845298781299428018, -3499919498720038879, True, 0.0, 1.0, 0.0, False),
        (-1032019229384696495, 8890720798209849691, False, 1.0, 0.0, 1.0, False),
        (-8845298781299428018, 8890720798209849691, True, None, None, None, True),
    ]
    assert log.exposures.select(columns).rows() == expected
    assert log.counts.likes_without_view == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_one_page_and_holds_no_data(name: str) -> None:
    page = (CARDS / name / "README.md").read_text(encoding="utf-8")
    assert sorted(path.name for path in (CARDS / name).iterdir()) == ["README.md", "recsys.toml"]
    assert len(page.splitlines()) < 80
    assert "as stated by the owner" in page
    assert f"recsys run -c data/cards/{name} --events " in page
    for heading in ("**Origin.**", "**Licence**", "**To get it**", "## Columns", "## Known defects"):
        assert heading in page


def test_every_card_is_tested() -> None:
    assert sorted(path.name for path in CARDS.iterdir() if path.is_dir()) == sorted(NAMES)
