"""The page of the audit: what its HTML holds, and how it behaves in a browser."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import polars as pl
import pytest
from audits import AWKWARD, COMPLETE, LADDER, SPARSE, UNKNOWN, around, difference
from pages import (
    Browser,
    Element,
    Tree,
    check_colours,
    check_contrast,
    check_figures,
    check_ids,
    check_print,
    check_silence,
    check_structure,
    check_width,
    in_a_browser,
)

from recsys.audit import PIECES, PLACEBOS, Audit, KnownBefore
from recsys.report import headline_audit, render_audit

pytestmark = pytest.mark.slow

#: Its primary outcome is awkward as well, so that the name stands in words, in tables and in drawings.
AWKWARD_PRIMARY = replace(
    COMPLETE,
    verdict=replace(COMPLETE.verdict, outcome=AWKWARD),
    lifts=tuple(one for one in COMPLETE.lifts if one.outcome != "long_view"),
)


def parse(audit: Audit) -> Element:
    return Tree(render_audit(audit, {"log": AWKWARD}, {"model": {"factors": 64}})).root


@pytest.fixture(scope="module")
def tree() -> Element:
    return parse(COMPLETE)


@pytest.fixture(scope="module")
def sparse() -> Element:
    return parse(SPARSE)


@pytest.fixture(
    scope="module", params=[COMPLETE, SPARSE, AWKWARD_PRIMARY], ids=["complete", "sparse", "awkward"]
)
def each(request: pytest.FixtureRequest) -> Element:
    return parse(request.param)


def body(tree: Element) -> str:
    return " ".join(tree.all("main")[0].text.split())


def figure(tree: Element, name: str) -> Element:
    (found,) = (one for one in tree.all("figure") if one.attributes["id"] == name)
    return found


def cells(around: Element) -> list[list[str]]:
    return [[cell.text for cell in row.all("th", "td")] for row in around.all("tbody")[0].all("tr")]


def table(tree: Element, caption: str) -> list[list[str]]:
    (found,) = (one for one in tree.all("table") if one.all("caption")[0].text.startswith(caption))
    return cells(found)


def test_structure_ids_and_colours_are_sound(each: Element) -> None:
    check_structure(each)
    check_ids(each)
    check_colours(each)
    check_figures(each)


def test_what_the_user_wrote_is_text(each: Element) -> None:
    assert not each.all("b")
    assert AWKWARD in body(each)


def test_the_users_words_stand_in_drawings_as_they_are() -> None:
    awkward = parse(AWKWARD_PRIMARY)
    assert AWKWARD in figure(awkward, "lift-primary").all("title")[0].text
    assert any(AWKWARD in text.text for text in figure(awkward, "segments-2").all("text"))


def test_the_verdict_comes_first_and_three_sentences_follow(tree: Element) -> None:
    main = tree.all("main")[0]
    assert [one.tag for one in main.children[:3]] == ["h1", "p", "ul"]
    assert main.children[1].text == COMPLETE.verdict.sentences[0]
    known, lift, worth = (one.text for one in main.children[2].all("li"))
    assert known == (
        "7.1 % (6.5 to 7.7 %) of the uncertainty about a like was gone before the person saw the item, without ever "
        "having seen them like anything; with all past likes, theirs and everybody else's, 21.1 % (20.1 to 21.9 %). "
        "In bits: a press tells 5.88 to someone who knows only the like rate, 5.12 to someone who knows the behaviour "
        "before it, and 4.08 to someone who knows all past likes, too."
    )
    between = COMPLETE.lift("long_view", "gbm").value.interval
    assert f"+1.05 NE points ({100 * between.low:+.2f} to {100 * between.high:+.2f}) under gbm" in lift
    assert (
        "In NE points, its pieces under logistic are crowd +0.12 and taste +1.08, which are the lift" in lift
    )
    assert "habit +0.40, which it leaves out" in lift
    assert worth == "To predict long_view, one like does the work of 3.2 (2.1 to 4.3) exposures."


@pytest.mark.parametrize("name", ["adds_signal", "redundant", "negligible", "harms", "inconclusive"])
def test_without_sentences_the_headline_says_what_the_marks_say(name: str) -> None:
    marks = dict.fromkeys(("adds_signal", "redundant", "negligible", "harms", "inconclusive"), False)
    verdict = replace(COMPLETE.verdict, sentences=(), **{**marks, name: True})
    said = {
        "adds_signal": "past likes add signal",
        "redundant": "past likes are redundant within the margin",
        "negligible": "what they add is detectable but negligible",
        "harms": "past likes harm the prediction",
        "inconclusive": "the result is inconclusive",
    }
    assert headline_audit(replace(COMPLETE, verdict=verdict)) == f"On long_view, {said[name]}."


def test_behind_every_figure_are_the_rows_of_its_frame(tree: Element) -> None:
    found = {str(one.attributes["id"]): len(cells(one)) for one in tree.all("figure")}
    rows = 2 * (len(PLACEBOS) + len(PIECES))
    assert found == {
        "ladder": len(COMPLETE.known.ladder),
        "lift-primary": rows,
        "lift-liked": rows,
        "exchange": 5,
        "dose-first": 4,
        "dose-share": 4,
        "segments-0": 5,
        "segments-1": 2,
        "segments-2": 2,
    }


def test_a_figures_table_says_what_the_audit_does(tree: Element) -> None:
    rows = {(row[0], row[1]): row[2:] for row in cells(figure(tree, "lift-primary"))}
    taste = COMPLETE.lift("long_view", "gbm").pieces["taste"]
    ends = (taste.value, taste.bound(0.025), taste.bound(0.975), taste.bound(0.05), taste.bound(0.95))
    assert rows["taste", "gbm"] == [f"{100 * end:+.3f}" for end in ends]
    over = COMPLETE.lift("long_view", "logistic").by_placebo["habit_crowd"]
    assert rows["+ items' counts", "logistic"][0] == f"{100 * over.value:+.3f}"
    assert cells(figure(tree, "exchange"))[1] == ["70\N{NO-BREAK SPACE}%", "0.8290", "0.8280"]
    assert cells(figure(tree, "dose-first"))[2] == ["10", "+0.600", "+0.300", "+0.900", "900", "9,000"]
    assert cells(figure(tree, "segments-2"))[1][3:6] == ["+1.100", "not estimable", "not estimable"]


def bar(tree: Element) -> list[str]:
    """What the legend of the ladder says, in order."""
    return [one.text.strip() for one in figure(tree, "ladder").all("text") if one.text.strip()[-1:] == "%"][
        6:
    ]


def test_the_bar_adds_up_and_what_a_rung_loses_stands_beneath_it(tree: Element) -> None:
    legend = bar(tree)
    shares = [float(one.rsplit(":", 1)[1].rstrip(" %")) for one in legend]
    assert [one.split()[0] for one in legend] == ["R1", "R2", "R3", "R4", "R5", "not"]
    assert shares == [7.1, 11.2, -0.2, 2.9, 8.6, 70.4]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    assert "R3 explained less than the rung before" in figure(tree, "ladder").text


def pieces_of_the_bar(tree: Element) -> list[tuple[float, float]]:
    """Where each piece begins and ends, in the drawing's units: what is as high as the tallest rectangle."""
    boxes = []
    for path in figure(tree, "ladder").all("path"):
        if "clip-path" in path.attributes:
            ends = [float(one) for one in re.findall(r"-?[\d.]+", str(path.attributes["d"]))]
            boxes.append((min(ends[::2]), max(ends[::2]), max(ends[1::2]) - min(ends[1::2])))
    tall = max(height for _, _, height in boxes)
    return sorted((left, right) for left, right, height in boxes if height > 0.9 * tall)


def test_the_pieces_of_the_bar_tile_it(tree: Element) -> None:
    pieces = pieces_of_the_bar(tree)
    assert len(pieces) == 5  # R3 adds nothing
    whole = pieces[-1][1] - pieces[0][0]
    widths = [round(100 * (right - left) / whole, 1) for left, right in pieces]
    assert widths == [7.1, 11.2, 2.7, 8.6, 70.4]
    for before, after in pairwise(pieces):
        assert after[0] == pytest.approx(before[1], abs=0.01)


def test_a_ladder_that_never_rises_is_drawn_too() -> None:
    fallen = tuple(replace(one, explained=around(-0.02, 0.01)) for one in LADDER[:3])
    page = parse(replace(COMPLETE, known=KnownBefore(fallen, 5.88, {"R1": 6.0})))
    assert bar(page)[-1] == "not explained: 100.0 %"
    assert "None of the uncertainty about a like was gone before" in body(page)
    assert "the explained share is -2.0 % (-3.0 to -1.0 %)" in body(page)


def test_every_outcome_is_in_the_table_with_its_bounds_and_p(tree: Element) -> None:
    rows = table(tree, "Like lift by outcome")
    assert [row[:2] for row in rows] == [[one.outcome, one.head] for one in COMPLETE.lifts]
    for row, one in zip(rows, COMPLETE.lifts, strict=True):
        between = one.value.interval
        ends = (one.value.value, between.low, between.high, one.value.bound(0.05), one.value.bound(0.95))
        assert row[2:7] == [f"{100 * end:+.3f}" for end in ends]
    assert [row[9] for row in rows] == ["primary", "primary", "< 0.001", "< 0.001", "0.410", "0.620"]


def test_what_holds_is_told_by_head_and_of_taste(tree: Element) -> None:
    logistic = COMPLETE.lift("long_view", "logistic").value
    bounds = [f"{100 * logistic.bound(tail):+.3f}" for tail in (0.05, 0.95)]
    rows = table(tree, "What holds on long_view")
    assert rows[0] == ["logistic", *bounds, "yes", "yes", "no", "no"]
    assert [row[0] for row in rows[2:]] == ["all heads", "taste piece, all heads"]


def test_controls_placebos_and_what_is_missing_are_said(tree: Element) -> None:
    assert [row[:2] for row in table(tree, "Controls")] == [
        ["cut invariance", "passed"],
        ["planted positive", "passed"],
        ["a a", "FAILED, stops the audit"],
    ]
    text = body(tree)
    assert "2 of 3 controls passed. Failed: a a." in text
    assert text.count("the placebo barely moves") == 1
    assert "Where it keeps items' counts, the placebo barely moves" in text
    assert tree.all("strong")[0].text == f"What of {AWKWARD} after a year?"
    assert "The log ends first." in text
    assert "Needs: a log of a year." in text
    assert "Users and items never seen before, and the others, warm: +1.30 NE points." in text
    assert "Declared groups: app: one segment only, only, +1.20 NE points." in text


def test_settings_windows_and_rows_are_all_there(tree: Element) -> None:
    fixed = dict(map(tuple, table(tree, "Fixed before scoring")))
    assert fixed == {
        "primary_outcome": "long_view",
        "margin": "0.001",
        "seeds": "5",
        "note": AWKWARD,
        "als.factors": "64",
    }
    assert table(tree, "Settings of the run") == [["model.factors", "64"]]
    assert COMPLETE.settings_sha256 in body(tree)
    assert table(tree, "Windows")[1][2:] == ["2026-03-04 00:00:00 UTC", "2026-03-07 00:00:00 UTC"]
    assert [row[1] for row in table(tree, "Rows")] == [f"{count:,}" for count in COMPLETE.rows.values()]


@pytest.mark.parametrize(
    "never",
    [
        "shown, hidden or removed",
        "cause anything",
        "dwell is taken as it is",
        "What a like means",
        "logging policy",
    ],
)
def test_what_cannot_be_claimed_is_said(each: Element, never: str) -> None:
    (box,) = [one for one in each.all("div") if "Nothing on this page says" in one.said + one.text]
    assert never in box.text


def test_where_nothing_is_estimable_words_stand_and_no_figure(sparse: Element) -> None:
    assert not sparse.all("figure", "svg")
    text = body(sparse)
    for said in (
        "On long_view, the result is inconclusive.",
        "How much of a like was known before the press is not estimable",
        "What past likes add to the prediction of long_view is not estimable",
        "How many exposures do the work of one like is not estimable",
        "The ladder is not estimable",
        "The lift on long_view is not estimable",
        "The lift on liked is not estimable",
        "What a user's first likes are worth is not estimable",
        "What a share of all likes is worth is not estimable",
        "Not estimable from this log. It needs items shown at random",
        "No control was run",
        "There is no segment whose lift could be estimated",
        "No settings were recorded",
    ):
        assert said in text
    assert "nan" not in text.split()
    assert table(sparse, "What holds")[-1][3:] == ["not estimable"] * 4


def test_a_rate_that_is_not_estimable_says_why_and_keeps_its_curve() -> None:
    assert COMPLETE.exchange is not None
    exchange = replace(COMPLETE.exchange, exposures_per_like=None, why="the curve does not cross.")
    page = parse(replace(COMPLETE, exchange=exchange))
    assert "is not estimable: the curve does not cross." in body(page)
    assert figure(page, "exchange")


def test_what_is_unknown_in_part_leaves_the_rest() -> None:
    lifts = tuple(
        replace(one, pieces={**one.pieces, "taste": difference(math.nan, math.nan)})
        for one in COMPLETE.lifts[:2]
    )
    ladder = tuple(replace(one, explained=UNKNOWN) if one.name == "R2" else one for one in LADDER)
    segments = COMPLETE.segments.with_columns(
        lift=pl.when(segment="warm").then(None).otherwise("lift"), marked=pl.lit(False)
    )
    page = parse(
        replace(COMPLETE, lifts=lifts, known=replace(COMPLETE.known, ladder=ladder), segments=segments)
    )
    assert "are crowd +0.12 and taste not estimable, which are the lift" in body(page)
    assert [one.split()[0] for one in bar(page)] == ["R1", "R3", "R4", "R5", "not"]
    assert "No segment is marked." in figure(page, "segments-1").text


def test_likes_to_come_as_the_primary_outcome_stand_once() -> None:
    primary = replace(COMPLETE, verdict=replace(COMPLETE.verdict, outcome="liked"))
    names = [one.attributes["id"] for one in parse(primary).all("figure")]
    assert "lift-primary" in names
    assert "lift-liked" not in names


def test_doses_of_other_users_are_not_joined() -> None:
    other = tuple(replace(one, users=one.users - number) for number, one in enumerate(COMPLETE.dose))
    apart, joined = (
        figure(parse(replace(COMPLETE, dose=doses)), "dose-first") for doses in (other, COMPLETE.dose)
    )
    assert "points are not joined" in apart.text
    assert "points are not joined" not in joined.text
    assert len(joined.all("path")) == len(apart.all("path")) + 1


@pytest.fixture(scope="module", params=[COMPLETE, SPARSE], ids=["complete", "sparse"])
def browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = tmp_path_factory.mktemp("report") / "audit.html"
    path.write_text(render_audit(request.param, {"log": AWKWARD}), encoding="utf-8")
    opened = Browser(path)
    yield opened
    opened.driver.quit()


@in_a_browser
def test_it_asks_for_nothing_and_the_console_is_silent(browser: Browser) -> None:
    check_silence(browser)


@in_a_browser
def test_it_can_be_read_in_light_and_in_dark(browser: Browser) -> None:
    check_contrast(browser)


@in_a_browser
@pytest.mark.parametrize("width", [1000, 380])
def test_no_page_scrolls_sideways_and_no_text_leaves_its_figure(browser: Browser, width: int) -> None:
    check_width(browser, width)


@in_a_browser
def test_it_prints_light_with_its_tables_open(browser: Browser) -> None:
    check_print(browser)
