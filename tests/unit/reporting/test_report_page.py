"""The report in a real browser: quiet console, visible drawings, no sideways scrolling; two runs
chosen, stepped through and followed to where they differ, with a pointer and without."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from neuroport.cli import cli
from neuroport.engines.reference import Reference
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Dense, Input, Lif, Node, Readout
from neuroport.graph.store import save
from neuroport.lowering.latency import balance_latency
from neuroport.reporting.html import report
from neuroport.runs.trace import Trace
from neuroport.targets.target import load_target
from tests.helpers.two_runs import STEPS, TwoRuns, two_runs

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium on the PATH; apt-get install chromium"
)

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
    messages = {name: array.copy() for name, array in trace.messages.items()}
    messages["blocks.1.neuron0"][2, 1, 3, 4, 5] ^= True
    return {
        "full": report(
            graph,
            trace,
            folder / "full.html",
            results=RESULTS,
            frames=frames,
            target=load_target("loihi2"),
            got=Trace(messages, trace.kinds, trace.provenance),
            labels=trace.predictions,
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


@pytest.fixture
def watched(browser: Any) -> Iterator[Any]:
    """Opens a file at a width and color scheme, and checks that nothing complained."""
    complaints: list[str] = []

    def view(path: Path, width: int, scheme: str, **options: Any) -> Any:
        size = {"width": width, "height": 900}
        page = browser.new_page(viewport=size, color_scheme=scheme, **options)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: requests.append(sent.url))
        page.goto(path.as_uri())
        return page

    requests: list[str] = []
    yield view
    assert complaints == []
    # a blob is the page's own data, on its way to be unpacked
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}


@pytest.fixture(params=["full", "bare"])
def opened(request: pytest.FixtureRequest, pages: dict[str, Path], watched: Any) -> Any:
    """Opens one of the pages at a width and color scheme, when it has drawn."""

    def view(width: int, scheme: str) -> Any:
        page = watched(pages[request.param], width, scheme)
        page.locator("#told:not(:empty)").wait_for()
        return page

    return view


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
    assert "2 of 3 comparisons are not equal." in sentence or "not compared" in sentence
    assert page.locator("html").get_attribute("lang") == "en"
    unnamed = page.locator("svg:not([aria-label]):not([aria-hidden])").count()
    assert unnamed == 0


# -- two runs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs() -> TwoRuns:
    return two_runs()


@pytest.fixture(scope="module")
def two(runs: TwoRuns, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that ``neuroport compare`` writes of two networks with one unlike weight."""
    folder = tmp_path_factory.mktemp("two")
    for graph, name in ((runs.graph, "one.graph"), (runs.other, "other.graph")):
        save(graph, folder / name)
    np.save(folder / "frames.npy", runs.frames)
    np.save(folder / "labels.npy", runs.labels)
    files = {n: str(folder / n) for n in ("one.graph", "other.graph", "frames.npy", "labels.npy")}
    one, other, frames, labels = files.values()
    page = folder / "out.html"
    arguments = ["compare", one, other, "--frames", frames, "--report", str(page)]
    done = CliRunner().invoke(cli, [*arguments, "--labels", labels])
    assert done.exit_code == 1, done.output
    assert done.output.endswith(f"wrote {page}\n")
    return page


def told(page: Any, text: str) -> None:
    sync_api.expect(page.locator("#told")).to_contain_text(text)


def drawn(page: Any, picture: str, number: int, rows: int, columns: int) -> np.ndarray:
    """The colors of the cells of a picture, (rows, columns, 3)."""
    colors = (
        page.locator(f"canvas.{picture}")
        .nth(number)
        .evaluate(
            """(canvas, [rows, columns]) => {
        const {width, height} = canvas, copy = new OffscreenCanvas(width, height), found = [];
        const context = copy.getContext('2d', {willReadFrequently: true});
        context.drawImage(canvas, 0, 0);
        for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) {
            const at = [(x + 0.5) * canvas.width / columns, (y + 0.5) * canvas.height / rows];
            found.push(...context.getImageData(at[0], at[1], 1, 1).data.slice(0, 3));
        }
        return found;
    }""",
            [rows, columns],
        )
    )
    return np.array(colors).reshape(rows, columns, 3)


def color(page: Any, name: str) -> list[int]:
    text = page.evaluate(
        "name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()", name
    )
    return [int(text[i : i + 2], 16) for i in (1, 3, 5)]


@pytest.mark.parametrize("width", [1280, 390])
def test_three_actions_lead_to_the_neuron_and_the_weight(
    watched: Any, two: Path, runs: TwoRuns, width: int
) -> None:
    page = watched(two, width, "light")  # the first
    assert page.title() == "other.graph against one.graph · neuroport report"
    page.get_by_role("link", name="Show the first divergence").click()  # the second
    weights = [
        str(graph[runs.node].weight[runs.place])  # type: ignore[attr-defined]
        for graph in (runs.graph, runs.other)
    ]
    row = page.locator("tr.unlike")
    assert row.count() == 1
    sync_api.expect(row).to_be_in_viewport()
    cells = row.locator("td").all_inner_texts()
    assert cells[:2] == [weights[0], f"{weights[1]} ≠"]
    sync_api.expect(page.get_by_text("Cause: scale.")).to_be_in_viewport()
    place = re.search(
        r"neuron \((\d+), (\d+), (\d+)\)",
        page.locator("section").filter(has=page.locator("#divergence")).inner_text(),
    )
    assert place is not None
    page.get_by_role("button", name="Show it on the maps").click()  # the third
    told(page, f"1 differ. Neuron {place[0][7:]}: 0 in want, 1 in got.")
    for number in (0, 1):
        sync_api.expect(page.locator("canvas.map").nth(number)).to_be_in_viewport()


def test_maps_and_rasters_are_the_messages_of_what_was_chosen(
    watched: Any, two: Path, runs: TwoRuns
) -> None:
    page = watched(two, 1280, "light")
    step, sample, channel = np.argwhere(runs.want["second"] != runs.got["second"])[-1][:3].tolist()
    page.get_by_label("Sample", exact=True).select_option(index=sample)
    names = ["input", *runs.want.kinds]
    page.get_by_label("Population", exact=True).select_option(index=names.index("second"))
    page.get_by_label("Step", exact=True).fill(str(step))
    want, got = (trace["second"][:, sample].astype(int) for trace in (runs.want, runs.got))
    unlike = int((want[step] != got[step]).sum())
    told(page, f"not 0: {want[step].sum()} in want, {got[step].sum()} in got; {unlike} differ")
    page.get_by_label("channel", exact=True).select_option(str(channel))
    page.get_by_label("map of all channels").uncheck()
    blue, orange, empty = (color(page, name) for name in ("--lif", "--relay", "--faint"))
    for number, values in enumerate((want, got, got - want)):
        inks = np.array([orange, empty, blue])[values[step, channel] + 1]
        np.testing.assert_allclose(drawn(page, "map", number, 8, 8), inks, atol=1)
        if number < 2:
            raster = drawn(page, "raster", number, 256, STEPS)
            inks = np.array([empty, blue])[values.reshape(STEPS, -1).T]
            np.testing.assert_allclose(raster, inks, atol=1)
    page.get_by_label("map of all channels").check()  # four, side by side, with a line between
    tiles = drawn(page, "map", 0, 17, 17)
    inks = np.array([empty, blue])[want[step, 3]]
    np.testing.assert_allclose(tiles[9:, 9:], inks, atol=1)
    page.emulate_media(color_scheme="dark")
    dark = color(page, "--lif")
    assert dark != blue
    inks = np.array([color(page, "--faint"), dark])[want[step, 3]]
    np.testing.assert_allclose(drawn(page, "map", 0, 17, 17)[9:, 9:], inks, atol=1)


def test_everything_can_be_done_by_keyboard(watched: Any, two: Path, runs: TwoRuns) -> None:
    page = watched(two, 390, "dark")
    page.locator("#told:not(:empty)").wait_for()

    def tab_to(what: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("what => document.activeElement.matches(what)", what):
                style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert style != "none", what
                return
        raise AssertionError(f"no way to {what}")

    tab_to("#to-divergence")
    page.keyboard.press("Enter")
    tab_to("#to-maps")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("canvas.map").first).to_be_focused()
    said = page.locator("#told").inner_text()
    found = re.search(r"Neuron \((\d+), (\d+), (\d+)\)", said)
    assert found is not None
    channel, row, column = map(int, found.groups())
    page.keyboard.press("ArrowDown")
    told(page, f"Neuron ({channel}, {row + 1}, {column})")
    page.keyboard.press("ArrowLeft")
    told(page, f"Neuron ({channel}, {row + 1}, {column - 1})")
    page.keyboard.press("PageDown")
    told(page, f"Neuron ({channel + 1}, {row + 1}, {column - 1})")
    page.reload()
    page.locator("#told:not(:empty)").wait_for()
    tab_to("#sample")
    page.keyboard.press("Home")
    tab_to("#population")
    page.keyboard.press("End")
    told(page, "out, step")
    tab_to("#step")
    page.keyboard.press("End")
    values = [int(trace["out"][-1, 0, 0]) for trace in (runs.want, runs.got)]
    told(page, f"Neuron (0): {values[0]} in want, {values[1]} in got.")


def test_screen_readers_get_a_name_for_every_control_and_the_news(watched: Any, two: Path) -> None:
    page = watched(two, 1280, "light")
    page.locator("#told:not(:empty)").wait_for()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('select, input, button, a, canvas, [tabindex="0"]')]
            .filter(e => !(e.labels && e.labels.length) && !e.textContent.trim()
                && !e.getAttribute('aria-label'))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert page.get_by_role("status").inner_text().startswith("second, step")
    sync_api.expect(page.locator("#step")).to_have_attribute("aria-valuetext", re.compile("step"))
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert {"Where the runs first differ", "Look inside", "Classes of these samples"} <= {*headings}


def test_without_scripts_the_page_still_says_where_and_why(watched: Any, two: Path) -> None:
    page = watched(two, 390, "light", java_script_enabled=False)
    assert page.locator("tr.unlike").is_visible()
    assert page.locator("#asleep").is_visible()
    assert not page.locator("#explorer").is_visible()


def test_hostile_names_stay_text_in_the_browser(watched: Any, tmp_path: Path) -> None:
    name = "</script><img src=x onerror=document.title=1>\u202e"
    runs = two_runs(name)
    path = report(
        runs.graph, runs.want, tmp_path / "a.html",
        frames=runs.frames, got=runs.got, other=runs.other, title=name,
    )  # fmt: skip
    page = watched(path, 1280, "light")
    told(page, name.replace("\u202e", "\\u202e"))
    assert page.locator("img").count() == 0
    assert page.title() == name.replace("\u202e", "\\u202e") + " · neuroport report"
