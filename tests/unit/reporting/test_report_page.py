"""The report in a real browser: quiet console, visible drawings, no sideways scrolling."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout
from neuroport.lowering.latency import balance_latency
from neuroport.reporting.html import report
from neuroport.targets.target import load_target

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

RESULTS: dict[str, Any] = {
    "name": "a_run_whose_name_is_long_and_has_no_spaces_at_all_to_break_at",
    "recipe": {"train": {"note": "a long line that has to scroll inside its own box " * 4}},
    "accuracy": {
        stage: {"percent": 97.4, "samples": 1000}
        for stage in ("float", "quantized", "lava-cpu", "loihi2")
    },
    "comparisons": [
        {"want": "reference", "got": "lava-cpu", "positions": 99, "populations": 8, "differing": 0},
        {"want": "trained", "got": "lava-cpu", "positions": 99, "populations": 8, "differing": 1},
    ],
    "seconds": {"train": 81.2, "quantize": 0.2},
    "versions": {"python": "3.10.13"},
}
VIEWS = [(width, scheme) for width in (1280, 400) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page with everything in it, and one of a bare run."""
    random = np.random.default_rng(0)
    nodes: list[Node] = [
        Input("input", (1, 8, 8), bits=1),
        Conv("stem", ("input",), random.integers(-4, 6, (4, 1, 3, 3)) * 2, padding=(1, 1)),
    ]
    stream: tuple[str, ...] = ("stem",)
    for block in range(3):
        for half in range(2):
            neuron, conv = f"blocks.{block}.neuron{half}", f"blocks.{block}.conv{half}"
            nodes.append(Lif(neuron, stream if half == 0 else (nodes[-1].name,), threshold=8))
            weight = random.integers(-4, 6, (4, 4, 3, 3)) * 2
            nodes.append(Conv(conv, (neuron,), weight, padding=(1, 1)))
        stream = (*stream, nodes[-1].name)
    nodes += [
        Lif("neuron", stream, threshold=8),
        Dense("fc", ("neuron",), random.integers(-4, 6, (10, 256)) * 2),
        Readout("out", ("fc",)),
    ]
    graph = balance_latency(Graph(nodes, steps=6))
    frames = random.integers(0, 2, (6, 3, 1, 8, 8))
    trace, folder = Reference().run(graph, frames), tmp_path_factory.mktemp("report")
    return {
        "full": report(
            graph,
            trace,
            folder / "full.html",
            results=RESULTS,
            frames=frames,
            target=load_target("loihi2"),
        ),
        "bare": report(graph, trace, folder / "bare.html"),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@pytest.fixture(params=["full", "bare"])
def opened(request: pytest.FixtureRequest, pages: dict[str, Path], browser: Any) -> Iterator[Any]:
    """Opens the page at a width and color scheme, and checks that nothing complained."""
    complaints: list[str] = []

    def view(width: int, scheme: str) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: requests.append(sent.url))
        page.goto(pages[request.param].as_uri())
        return page

    requests: list[str] = []
    yield view
    assert complaints == []
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_drawing_and_the_rasters_are_visible(opened: Any, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    drawing = page.locator("svg.network")
    assert drawing.is_visible()
    assert drawing.bounding_box()["width"] > 300
    assert drawing.bounding_box()["height"] > 300
    rasters = page.locator("svg.raster")
    assert rasters.count() == 7
    for i in range(7):
        box = rasters.nth(i).bounding_box()
        assert box["width"] > 40
        assert box["height"] > 40
    marks = page.locator("svg.raster .mark").first.bounding_box()
    assert marks["width"] > 0
    assert marks["height"] > 0


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_the_body_never_scrolls_sideways(opened: Any, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing sticks out either, except inside a box that scrolls by itself.
    outside = page.evaluate(
        """width => [...document.querySelectorAll('main *')]
            .filter(e => !e.closest('.scroll, svg') && e.getBoundingClientRect().right > width + 1)
            .map(e => e.outerHTML.slice(0, 80))""",
        width,
    )
    assert outside == []


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_letters_are_large_and_dark_enough_to_read(opened: Any, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    found = page.evaluate(
        """() => {
        const light = c => {
            const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
                .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const paper = e => {
            for (; e; e = e.parentElement) {
                const c = getComputedStyle(e).backgroundColor;
                if (c !== 'rgba(0, 0, 0, 0)') return c;
            }
        };
        return [...document.querySelectorAll('main *')]
            .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
            .filter(e => !['title', 'style'].includes(e.tagName) && e.getClientRects().length)
            .map(e => {
                const style = getComputedStyle(e);
                const ink = light(e.closest('svg') ? style.fill : style.color);
                const back = light(paper(e));
                const [low, high] = [Math.min(ink, back), Math.max(ink, back)];
                return [e.textContent.trim().slice(0, 40), parseFloat(style.fontSize),
                    (high + 0.05) / (low + 0.05)];
            });
        }"""
    )
    assert len(found) > 100
    assert [(text, size) for text, size, _ in found if size < 12] == []
    assert [(text, ratio) for text, _, ratio in found if ratio < 4.5] == []


def test_labels_of_the_drawing_do_not_collide(opened: Any) -> None:
    boxes = opened(1280, "light").evaluate(
        """() => [...document.querySelectorAll('svg.network text')].map(e => {
            const b = e.getBBox(), s = e.ownerSVGElement.viewBox.baseVal;
            return [e.textContent, b.x, b.y, b.x + b.width, b.y + b.height, s.width, s.height];
        })"""
    )
    for text, left, top, right, bottom, width, height in boxes:
        assert left >= 0, text
        assert top >= 0, text
        assert right <= width, text
        assert bottom <= height, text
    for i, (text, left, top, right, bottom, *_) in enumerate(boxes):
        for other, left2, top2, right2, bottom2, *_ in boxes[:i]:
            apart = right <= left2 or right2 <= left or bottom <= top2 + 3 or bottom2 <= top + 3
            assert apart, (text, other)


def test_the_verdict_is_a_word_and_not_only_a_color(opened: Any) -> None:
    page = opened(400, "dark")
    sentence = page.locator("#verdict .sentence").inner_text()
    assert "1 of 2 comparisons is not equal." in sentence or "not compared" in sentence
    assert page.locator("html").get_attribute("lang") == "en"
    unnamed = page.locator("svg:not([aria-label]):not([aria-hidden])").count()
    assert unnamed == 0
