"""What tests of pages share: their tree, and a browser that looks at them."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest


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


def everything(element: Element) -> Iterator[Element]:
    yield element
    for child in element.children:
        yield from everything(child)


def check_figures(tree: Element) -> None:
    names = {one.attributes["id"]: one for one in tree.all("title", "desc") if "id" in one.attributes}
    for figure in tree.all("figure"):
        (svg,), (caption,) = figure.all("svg"), figure.all("figcaption")
        assert svg.attributes["role"] == "img"
        title, words = (names[name] for name in str(svg.attributes["aria-labelledby"]).split())
        assert title.text == caption.text != ""
        assert len(words.text) > 50
        assert len(svg.all("text")) >= 4


def check_structure(tree: Element) -> None:
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


def check_ids(tree: Element) -> None:
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


def check_colours(tree: Element) -> None:
    for svg in tree.all("svg"):
        styles = " ".join(str(one.attributes.get("style", "")) for one in everything(svg))
        assert not re.search(r"#[0-9a-f]{3,6}\b|rgb", styles)


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


def check_silence(browser: Browser) -> None:
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
    marks: [...new Set(marks)], drawings: document.querySelectorAll('svg').length};
"""


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def check_contrast(browser: Browser) -> None:
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
        seen = sum(contrast(colour, look["paper"]) >= 3 for colour in look["marks"])
        assert seen >= 3 or not look["drawings"]
    assert set(light["texts"]).isdisjoint(dark["texts"])


SHAPES = """
const boxes = [...document.querySelectorAll('svg')].flatMap(svg => [...svg.querySelectorAll('text')].map(one => {
    const [inner, outer] = [one.getBoundingClientRect(), svg.getBoundingClientRect()];
    return [one.textContent, outer.left - inner.left, inner.right - outer.right,
        outer.top - inner.top, inner.bottom - outer.bottom];
}));
return boxes.filter(box => box.slice(1).some(by => by > 2));
"""


def check_width(browser: Browser, width: int) -> None:
    browser.show(width=width)
    assert browser.run("return document.documentElement.scrollWidth") <= width
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(SHAPES) == []


def check_print(browser: Browser) -> None:
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
