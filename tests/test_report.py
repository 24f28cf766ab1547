"""The report: what its HTML holds, and how it behaves in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest
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
    contrast,
    in_a_browser,
)

from recsys.config import EvaluationSettings, ModelSettings, Settings
from recsys.evaluation import Evaluation, evaluate
from recsys.events import EventLog, profile, read_events
from recsys.inference import Estimate
from recsys.report import render_evaluation
from recsys.simulation import World, simulate

SETTINGS = Settings(
    model=ModelSettings(factors=4, iterations=2, min_signal_rows=20),
    evaluation=EvaluationSettings(bootstraps=100, null_draws=100),
)
AWKWARD = "<b>$\\alpha$</b> & 好"


@pytest.fixture(scope="module")
def log() -> EventLog:
    made = simulate(World.preset("groups", exposures=20_000, users=400, items=150, seed=5)).events
    made = made.with_columns(group_cohort=pl.col("group_cohort").cast(pl.String).replace("b", AWKWARD))
    broken = made.head(3).with_columns(timestamp=pl.lit(None, made.schema["timestamp"]))
    return read_events(pl.concat([made, broken]), signals=["long_view"], outcomes=["follow"])


@pytest.fixture(scope="module")
def evaluation(log: EventLog) -> Evaluation:
    return evaluate(log, SETTINGS)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation, log: EventLog) -> str:
    about = {"log": AWKWARD}
    return render_evaluation(evaluation, about, profile(log), SETTINGS.model_dump(mode="json"))


@pytest.fixture(scope="module")
def tree(page: str) -> Element:
    return Tree(page).root


def frames(evaluation: Evaluation) -> list[list[int]]:
    """Rows of the frames behind the figures, in the order of the page."""
    kinds = evaluation.segments.partition_by("kind", maintain_order=True)
    return [
        [1 + len(evaluation.baselines)],
        [len(evaluation.reliability), len(evaluation.reliability_null)],
        [len(evaluation.distribution)],
        [len(evaluation.candidates)],
        *([len(kind)] for kind in kinds if len(kind) > 1),
        [len(evaluation.days)],
    ]


def test_behind_every_figure_are_the_rows_of_its_frame(tree: Element, evaluation: Evaluation) -> None:
    tables = [figure.all("details")[0].all("tbody") for figure in tree.all("figure")]
    assert [[len(body.all("tr")) for body in bodies] for bodies in tables] == frames(evaluation)
    assert {"forecast", "activity", "popularity", "warmth", "creator", "group_cohort"} == set(
        evaluation.segments["kind"]
    )


@pytest.mark.parametrize(
    ("highs", "says"),
    [
        ([-0.1, 0.0, 0.2, 0.0], "50 candidates are the fewest"),
        ([0.1, -0.1, 0.2, 0.0], "30 candidates are the fewest"),
        ([-0.1, -0.1, -0.2, 0.0], "With any fewer than 142 candidates"),
    ],
)
def test_the_fewest_candidates_are_those_within_noise_of_the_most(
    evaluation: Evaluation, highs: list[float], says: str
) -> None:
    assert [one.candidates for one in evaluation.candidates] == [30, 50, 100, 142]
    tried = [
        replace(one, difference=Estimate(high - 0.3, high - 0.6, high))
        for one, high in zip(evaluation.candidates, highs, strict=True)
    ]
    assert says in render_evaluation(replace(evaluation, candidates=tuple(tried)), {})


def test_where_nothing_can_be_ranked_there_is_no_figure_of_candidates(evaluation: Evaluation) -> None:
    assert 'id="candidates"' in render_evaluation(evaluation, {})
    page = render_evaluation(replace(evaluation, candidates=()), {})
    assert 'id="candidates"' not in page
    assert "candidates are the fewest" not in page


def test_a_figures_table_says_what_its_frame_does(tree: Element, evaluation: Evaluation) -> None:
    (figure,) = (one for one in tree.all("figure") if one.attributes["id"] == "days")
    rows = [[cell.text for cell in row.all("th", "td")] for row in figure.all("tbody")[0].all("tr")]
    for row, day in zip(rows, evaluation.days.to_dicts(), strict=True):
        assert row[:3] == [str(day["day"]), f"{day['exposures']:,}", f"{day['likes']:,}"]
        assert row[6] == f"{100 * day['bias']:+.1f}\N{NO-BREAK SPACE}%"


def test_every_figure_has_a_title_and_says_in_words_what_it_shows(tree: Element) -> None:
    check_figures(tree)


def test_a_reader_of_the_structure_finds_its_way(tree: Element) -> None:
    check_structure(tree)


def test_ids_are_unique_and_what_is_pointed_at_is_there(tree: Element) -> None:
    check_ids(tree)


def test_what_the_user_wrote_is_text(tree: Element) -> None:
    assert not tree.all("b")
    assert any(AWKWARD in cell.text for cell in tree.all("td"))
    assert any(cell.text == AWKWARD for cell in tree.all("th"))
    assert any(AWKWARD in label.text for label in tree.all("text"))


def test_the_page_has_the_log_the_settings_and_what_it_does_not_say(tree: Element, log: EventLog) -> None:
    cells = {row.all("th")[0].text: row.all("td")[0].text for row in tree.all("tr") if row.all("td")}
    assert cells["read"] == f"{log.counts.read:,}"
    assert cells["timestamp missing or unparseable"] == "3"
    assert cells["model.factors"] == "4"
    assert "Nothing here is causal" in tree.all("main")[0].text


def test_colours_are_the_pages(tree: Element) -> None:
    check_colours(tree)


def test_a_version_without_baselines_and_a_window_without_much_are_rendered(evaluation: Evaluation) -> None:
    few = evaluation.days.head(1).with_columns(pl.lit(None, pl.Float64).alias("bias"))
    html = render_evaluation(replace(evaluation, baselines={}, calibrate=None, days=few), {})
    assert "No profile of the log was given" in html
    assert "best baseline" not in html


@pytest.fixture(scope="module")
def browser(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = tmp_path_factory.mktemp("report") / "evaluation.html"
    path.write_text(page, encoding="utf-8")
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


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)
