"""The report: what its HTML holds, and how it behaves in a browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

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


class Element:
    """An element of a page, as a tree."""

    def __init__(self, tag: str, attributes: dict[str, str | None], parent: Element | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element] = []
        self.said = ""

    @property
    def text(self) -> str:
        return self.said + "".join(child.text for child in self.children)

    def all(self, *tags: str) -> list[Element]:
        found = [self] if self.tag in tags else []
        return found + [one for child in self.children for one in child.all(*tags)]


class Tree(HTMLParser):
    VOID = ("meta", "br", "hr", "img", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.at = Element("", {}, None)
        self.feed(html)
        assert self.at is self.root, f"<{self.at.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in self.VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Element(tag, dict(attrs), self.at))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.at.tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.said += data


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
    names = {one.attributes["id"]: one for one in tree.all("title", "desc") if "id" in one.attributes}
    for figure in tree.all("figure"):
        (svg,), (caption,) = figure.all("svg"), figure.all("figcaption")
        assert svg.attributes["role"] == "img"
        title, words = (names[name] for name in str(svg.attributes["aria-labelledby"]).split())
        assert title.text == caption.text != ""
        assert len(words.text) > 50
        assert len(svg.all("text")) >= 4


def test_a_reader_of_the_structure_finds_its_way(tree: Element) -> None:
    assert tree.all("html")[0].attributes["lang"] == "en"
    assert [len(tree.all(tag)) for tag in ("h1", "main", "script", "link", "img", "iframe")] == [
        1,
        1,
        0,
        0,
        0,
        0,
    ]
    levels = [int(one.tag[1]) for one in tree.all("h1", "h2", "h3", "h4")]
    assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False))
    for table in tree.all("table"):
        assert table.all("caption")[0].text
        assert all(cell.attributes["scope"] in ("row", "col") for cell in table.all("th"))
        around = table.parent
        assert around is not None
        assert around.attributes.items() >= {"tabindex": "0", "role": "region"}.items()
        assert around.attributes["aria-label"]


def everything(element: Element) -> Iterator[Element]:
    yield element
    for child in element.children:
        yield from everything(child)


def test_ids_are_unique_and_what_is_pointed_at_is_there(tree: Element) -> None:
    attributes = [one.attributes for one in everything(tree)]
    ids = [found["id"] for found in attributes if "id" in found]
    assert len(ids) == len(set(ids))
    links = [str(found[name])[1:] for found in attributes for name in ("href", "xlink:href") if name in found]
    clips = [
        clip
        for found in attributes
        for clip in re.findall(r"url\(#([^)]+)\)", " ".join(map(str, found.values())))
    ]
    assert links
    assert set(links + clips) <= set(ids)


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
    for svg in tree.all("svg"):
        styles = " ".join(str(one.attributes.get("style", "")) for one in everything(svg))
        assert not re.search(r"#[0-9a-f]{3,6}\b|rgb", styles)


def test_a_version_without_baselines_and_a_window_without_much_are_rendered(evaluation: Evaluation) -> None:
    few = evaluation.days.head(1).with_columns(pl.lit(None, pl.Float64).alias("bias"))
    html = render_evaluation(replace(evaluation, baselines={}, calibrate=None, days=few), {})
    assert "No profile of the log was given" in html
    assert "best baseline" not in html


CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
in_a_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium chromium-driver)"
)


class Browser:
    """A headless Chromium that looks at one page."""

    def __init__(self, page: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, Service(executable_path=str(DRIVER)))
        self.url = page.as_uri()

    def tell(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)  # type: ignore[no-untyped-call]

    def show(self, scheme: str = "light", width: int = 1000, media: str = "screen") -> None:
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.tell("Emulation.setEmulatedMedia", media=media, features=features)
        self.driver.get(self.url)


@pytest.fixture(scope="module")
def browser(page: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = tmp_path_factory.mktemp("report") / "evaluation.html"
    path.write_text(page, encoding="utf-8")
    opened = Browser(path)
    yield opened
    opened.driver.quit()


@in_a_browser
def test_it_asks_for_nothing_and_the_console_is_silent(browser: Browser) -> None:
    browser.driver.get_log("performance")
    browser.show()
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    asked = [
        one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"
    ]
    assert asked == [browser.url]
    assert browser.driver.get_log("browser") == []


LOOK = """
const seen = getComputedStyle(document.body);
const texts = [...document.querySelectorAll('svg text')].map(one => getComputedStyle(one).fill);
const words = [...document.querySelectorAll('p, th, td, li, small, a, summary, figcaption')]
    .map(one => getComputedStyle(one).color);
const marks = [...document.querySelectorAll('svg path')].map(one => getComputedStyle(one).stroke)
    .filter(one => one.startsWith('rgb'));
return {paper: seen.backgroundColor, ink: seen.color, texts: [...new Set(texts.concat(words))],
    marks: [...new Set(marks)]};
"""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


@in_a_browser
def test_it_can_be_read_in_light_and_in_dark(browser: Browser) -> None:
    looks = {}
    for scheme in ("light", "dark"):
        browser.show(scheme)
        looks[scheme] = browser.run(LOOK)
    light, dark = looks["light"], looks["dark"]
    assert luminance(light["paper"]) > 0.8
    assert luminance(dark["paper"]) < 0.05
    assert light["ink"] != dark["ink"]
    for look in looks.values():
        assert len(look["texts"]) >= 2
        for colour in look["texts"]:
            assert contrast(colour, look["paper"]) >= 4.5, colour
        # Axes and intervals; the lines behind them may be faint.
        assert sum(contrast(colour, look["paper"]) >= 3 for colour in look["marks"]) >= 3
    assert set(light["texts"]).isdisjoint(dark["texts"])


SHAPES = """
const boxes = [...document.querySelectorAll('svg')].flatMap(svg => [...svg.querySelectorAll('text')].map(one => {
    const [inner, outer] = [one.getBoundingClientRect(), svg.getBoundingClientRect()];
    return [one.textContent, outer.left - inner.left, inner.right - outer.right,
        outer.top - inner.top, inner.bottom - outer.bottom];
}));
return boxes.filter(box => box.slice(1).some(by => by > 2));
"""


@in_a_browser
@pytest.mark.parametrize("width", [1000, 380])
def test_no_page_scrolls_sideways_and_no_text_leaves_its_figure(browser: Browser, width: int) -> None:
    browser.show(width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(SHAPES) == []


@in_a_browser
def test_it_prints_light_with_its_tables_open(browser: Browser) -> None:
    shown = "return [...document.querySelectorAll('details')].map(one => one.getBoundingClientRect().height)"
    browser.show("dark")
    closed = browser.run(shown)
    browser.show("dark", media="print")
    opened = browser.run(shown)
    assert all(after > before + 20 for before, after in zip(closed, opened, strict=True))
    assert luminance(browser.run(LOOK)["ink"]) < 0.1
    pdf = base64.b64decode(browser.tell("Page.printToPDF")["data"])
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(118, 118, 118)", "rgb(255, 255, 255)") == pytest.approx(4.54, abs=0.01)
