"""Windows: where they lie, what is in them, and what was known by then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from recsys.config import WindowsSettings
from recsys.errors import ConfigError, DataError, UsageError
from recsys.events import EventLog
from recsys.split import (
    Window,
    exposures_in,
    known_before,
    require_both_labels,
    slide_to_end,
    split_by_time,
)

AS_OF = datetime(2026, 1, 13, tzinfo=UTC)
Day = Callable[[float], datetime]


def days(number: float) -> timedelta:
    return timedelta(days=number)


class TestWhereWindowsLie:
    @pytest.mark.parametrize(("calibrate", "test", "gap"), [(3, 3, 0), (2, 1, 0), (4, 2, 0.5)])
    def test_lengths_back_from_as_of(self, calibrate: float, test: float, gap: float) -> None:
        settings = WindowsSettings(calibrate=days(calibrate), test=days(test), gap=days(gap))
        windows = split_by_time(settings, AS_OF)
        assert windows.test.end == AS_OF
        assert windows.test.end - windows.test.start == days(test)
        assert windows.calibrate.end - windows.calibrate.start == days(calibrate)
        for window in (windows.calibrate, windows.test):
            assert window.start - window.cut == days(gap)
        assert windows.calibrate.end == windows.test.cut

    def test_instants_beat_lengths(self) -> None:
        instants = {"calibrate_from": AS_OF - days(9), "test_from": AS_OF - days(2)}
        windows = split_by_time(WindowsSettings(**instants, gap=days(1)), AS_OF)
        assert (windows.calibrate.start, windows.test.start) == tuple(instants.values())
        assert windows.calibrate.end == instants["test_from"] - days(1)

    def test_zone_of_as_of_changes_nothing(self) -> None:
        elsewhere = split_by_time(WindowsSettings(), AS_OF.astimezone(timezone(timedelta(hours=8))))
        assert repr(elsewhere) == repr(split_by_time(WindowsSettings(), AS_OF))

    def test_as_of_needs_a_zone(self) -> None:
        with pytest.raises(UsageError, match="as_of needs its zone, as in 2026-01-13T00:00:00Z"):
            split_by_time(WindowsSettings(), AS_OF.replace(tzinfo=None))

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"test": days(0)}, "test_from must lie before as_of, got 2026-01-13.* and 2026-01-13"),
            ({"test_from": AS_OF + days(1)}, "test_from must lie before as_of, got 2026-01-14.*2026-01-13"),
            ({"calibrate": days(0)}, "calibrate_from must lie before test_from .*2026-01-10.*2026-01-10"),
            (
                {"calibrate_from": AS_OF - days(2), "test_from": AS_OF - days(4)},
                "calibrate_from must lie before test_from .*2026-01-11.*2026-01-09",
            ),
            (
                {"calibrate_from": AS_OF - days(4), "test_from": AS_OF - days(3), "gap": days(2)},
                "less the gap, got 2026-01-09.*2026-01-08",
            ),
        ],
    )
    def test_wrong_order_names_both(self, settings: dict[str, object], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            split_by_time(WindowsSettings.model_validate(settings), AS_OF)

    @pytest.mark.parametrize("gap", [0, 0.5])
    def test_slide_to_end_keeps_length_and_gap(self, gap: float) -> None:
        windows = split_by_time(WindowsSettings(calibrate=days(4), gap=days(gap)), AS_OF)
        slid = slide_to_end(windows, days(gap))
        assert slid == Window(AS_OF - days(4 + gap), AS_OF - days(4), AS_OF)


class TestWhatIsInThem:
    @pytest.mark.parametrize("calibrate", [0.5, 3, 8])
    def test_rows_are_conserved(self, log: EventLog, calibrate: float) -> None:
        windows = split_by_time(WindowsSettings(calibrate=days(calibrate)), log.as_of)
        before = known_before(log.exposures, windows.calibrate.cut)
        inside = [exposures_in(log.exposures, window) for window in (windows.calibrate, windows.test)]
        hidden = log.exposures.filter("history_only", pl.col("timestamp") >= windows.calibrate.start)
        assert sum(map(len, (before, hidden, *inside))) == len(log.exposures)
        pairs = pl.concat([frame.select("user_id", "item_id", "timestamp") for frame in (before, *inside)])
        assert pairs.is_unique().all()

    def test_nothing_lies_at_or_after_the_cut(self, log: EventLog) -> None:
        # Cut exactly at a row: the row itself is the future.
        cut = log.exposures["timestamp"].sort()[len(log.exposures) // 2]
        assert len(known_before(log.exposures, cut)) == len(log.exposures) // 2
        inside = exposures_in(log.exposures, Window(cut, cut, cut + days(1)))
        assert inside["timestamp"].min() >= cut
        assert exposures_in(log.exposures, Window(cut, cut - days(1), cut))["timestamp"].max() < cut

    @pytest.mark.parametrize("settle", [0, 0.5])
    @pytest.mark.parametrize("cut", [-1, 0, 5.3, 99])
    def test_rows_in_order_of_time_give_the_same(
        self, log: EventLog, day: Day, cut: float, settle: float
    ) -> None:
        rows = log.exposures.sort("timestamp", maintain_order=True)
        cuts = [day(cut), rows["timestamp"][len(rows) // 2]]
        for at in cuts:
            found = known_before(rows.set_sorted("timestamp"), at, days(settle))
            assert found.equals(rows.filter(pl.col("timestamp") < at - days(settle)))

    @pytest.mark.parametrize("flag", ["history_only", "factors_only"])
    def test_history_feeds_what_is_known_but_never_a_window(self, log: EventLog, day: Day, flag: str) -> None:
        flagged = log.exposures.with_columns(pl.lit(True).alias(flag))
        assert exposures_in(flagged, Window(day(0), day(0), day(12))).is_empty()
        assert len(known_before(flagged, day(12))) == len(flagged)


class TestLateLabels:
    ROWS = pl.DataFrame(
        {
            "timestamp": [AS_OF - days(2)] * 4,
            "liked": [True, True, True, False],
            "liked_at": [AS_OF - days(1), AS_OF, AS_OF + days(1), None],
            "long_view": [1.0, 0.0, 1.0, None],
            "long_view_at": [AS_OF + days(1), None, AS_OF - days(1), None],
            "history_only": [False] * 4,
            "factors_only": [False] * 4,
        }
    )

    @pytest.mark.parametrize("view", ["known_before", "in order", "exposures_in"])
    def test_labels_that_came_at_or_after_the_cut_are_taken_back(self, view: str) -> None:
        window = Window(AS_OF - days(9), AS_OF - days(9), AS_OF)
        views = {
            "known_before": known_before(self.ROWS, AS_OF),
            "in order": known_before(self.ROWS.set_sorted("timestamp"), AS_OF),
            "exposures_in": exposures_in(self.ROWS, window),
        }
        rows = views[view]
        assert rows["liked"].to_list() == [True, False, False, False]
        assert rows["long_view"].to_list() == [0.0, 0.0, 1.0, None]
        assert rows.schema == self.ROWS.schema

    def test_window_is_labelled_as_known_at_its_end_not_later(
        self, draw_events: Callable[..., pl.DataFrame], read_event_log: Callable[..., EventLog], day: Day
    ) -> None:
        events = draw_events(seed=3)
        full = read_event_log(events)
        earlier = read_event_log(events.filter(pl.col("timestamp") < day(8)))
        window = Window(day(6), day(6), day(8))
        columns = ["user_id", "item_id", "timestamp", "liked", "long_view"]
        then, now = (exposures_in(log.exposures, window).select(columns) for log in (earlier, full))
        assert then.sort(columns[:3]).equals(now.sort(columns[:3]))
        assert full.exposures.filter(pl.col("timestamp").is_between(day(6), day(8)))["liked"].sum() > (
            now["liked"].sum()
        )


class TestBothLabels:
    @pytest.mark.parametrize(("liked", "likes"), [([], 0), ([False, False], 0), ([True, True], 2)])
    def test_window_of_one_label_is_refused(self, liked: list[bool], likes: int) -> None:
        rows = pl.DataFrame({"liked": liked}, schema={"liked": pl.Boolean})
        window = Window(AS_OF, AS_OF, AS_OF + days(1))
        said = f"test window .2026-01-13.*2026-01-14.* holds {likes} likes in {len(rows)} exposures.*windows"
        with pytest.raises(DataError, match=said):
            require_both_labels(rows, window, "test")

    def test_window_of_both_passes(self) -> None:
        require_both_labels(pl.DataFrame({"liked": [True, False]}), Window(AS_OF, AS_OF, AS_OF), "test")


def test_young_exposures_say_nothing_at_any_cut() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows = pl.DataFrame(
        {
            "timestamp": [start + timedelta(hours=hour) for hour in range(10)],
            "liked": [True] * 10,
            "history_only": [False] * 10,
            "factors_only": [False] * 9 + [True],
        }
    )
    cut, settle = start + timedelta(hours=8), timedelta(hours=3)
    assert known_before(rows, cut, settle)["timestamp"].dt.hour().to_list() == [0, 1, 2, 3, 4]
    window = Window(start, start + timedelta(hours=2), cut)
    assert exposures_in(rows, window, settle)["timestamp"].dt.hour().to_list() == [2, 3, 4]
    orphan = known_before(rows, start + timedelta(hours=10), settle)
    assert orphan["timestamp"].dt.hour().to_list() == [0, 1, 2, 3, 4, 5, 6, 9]
