"""The documentation site: built with warnings as errors, and looked at in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import neuroport
from neuroport.cli.main import VERBS
from tests.docs.pages import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
browsing = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where a server on this machine shows the site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright import sync_api

    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """Opens a page at a width; nothing may complain, and nothing may be asked of another host."""
    complaints: list[str] = []
    requests: list[str] = []

    def view(name: str, width: int) -> Any:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda sent: requests.append(sent.url))
        page.goto(f"{address}/{name}")
        return page

    yield view
    assert complaints == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


def text(site: Path, name: str) -> str:
    return (site / name).read_text()


def test_every_public_name_and_every_command_is_in_the_reference(site: Path) -> None:
    page = text(site, "reference/python.html")
    assert [n for n in neuroport.__all__ if f'id="neuroport.{n}"' not in page] == []
    commands = text(site, "reference/commands.html")
    assert [verb for verb in VERBS if f'id="neuroport-{verb}"' not in commands] == []
    assert "--processes TEXT" in commands  # an option of an engine


def test_docstrings_and_texts_lead_to_the_reference(site: Path) -> None:
    layers = text(site, "reference/layers.html")
    assert 'href="#neuroport.nets.synapse.coarsen_stem"' in layers
    steps = text(site, "first_steps.html")
    assert 'href="reference/commands.html#neuroport-check"' in steps
    guide = text(site, "nir.html")
    assert 'href="reference/python.html#neuroport.from_nir"' in guide
    for page in (site / "reference").glob("*.html"):
        assert not re.search(r":(class|func|mod|data|meth|attr):", page.read_text()), page


def test_no_page_asks_another_host_for_anything(site: Path) -> None:
    loads = re.compile(r"<(?:(?:script|img|iframe)[^>]*src|link[^>]*href)=\"?(https?:[^\">\s]+)")
    for page in site.rglob("*.html"):
        assert loads.findall(page.read_text()) == [], page


def test_links_to_files_of_the_repository_lead_to_a_host_or_nowhere(site: Path) -> None:
    steps = text(site, "first_steps.html")
    assert 'href="docs/' not in steps
    assert "examples/slayer_shortcut.py" not in re.findall(r'href="([^"]+)"', steps)
    assert 'href="design.html"' in steps
    assert 'href="models.html"' in steps


@browsing
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_scrolls_sideways(opened: Any, site: Path, address: str, width: int) -> None:
    largest = sorted(site.rglob("*.html"), key=lambda path: path.stat().st_size)[-8:]
    names = {str(path.relative_to(site)) for path in largest}
    page = opened("index.html", width)
    wide = {}
    for name in ("index.html", "howto/spikes_differ.html", *sorted(names)):
        page.goto(f"{address}/{name}")
        scrolls = page.evaluate("document.documentElement.scrollWidth")
        if scrolls > width:
            wide[name] = scrolls
    assert wide == {}


@browsing
@pytest.mark.parametrize("width", WIDTHS)
def test_the_search_finds_what_is_asked(opened: Any, width: int) -> None:
    page = opened("index.html", width)
    if width < 600:
        page.locator("label[for=__search].md-header__button").click()
    else:
        page.locator(".md-search__input").click()
    page.locator(".md-search__input").type("freeze_scales")
    first = page.locator(".md-search-result__item a").first
    first.wait_for(timeout=20_000)
    links = page.locator(".md-search-result__item a").evaluate_all(
        "found => found.map(a => a.href)"
    )
    assert any("training_loop.html" in link or "layers.html" in link for link in links)
    first.click()
    page.wait_for_url(re.compile(r"(training_loop|layers)\.html"))


@browsing
@pytest.mark.parametrize("width", WIDTHS)
def test_a_stranger_goes_from_the_home_page_to_a_network_of_their_own(
    opened: Any, width: int
) -> None:
    page = opened("index.html", width)
    page.locator("article a[href='first_steps.html']").first.click()
    page.wait_for_url("**/first_steps.html")
    assert "make demo" in page.locator("article").inner_text()
    page.locator("a.md-footer__link--next").click()  # the tutorials
    page.locator("article a[href='own_network.html']").first.click()
    assert page.locator("h1").inner_text().startswith("A network of your own")
    page.locator("article a[href='training_loop.html']").first.click()
    page.wait_for_url("**/training_loop.html")


@browsing
def test_the_picture_of_the_architecture_is_readable_in_both_colors(
    browser: Any, address: str
) -> None:
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
        page.goto(f"{address}/index.html")
        picture = page.locator("img[src$='architecture.svg']")
        assert picture.bounding_box()["width"] > 500
        assert picture.evaluate("e => e.complete && e.naturalWidth > 0")
        dark = page.evaluate("document.body.getAttribute('data-md-color-scheme')") == "slate"
        assert dark == (scheme == "dark")


def test_the_picture_names_folders_and_engines_that_exist() -> None:
    from neuroport.engines.table import ENGINES

    drawn = " ".join(re.findall(r">([^<]+)</text>", text(ROOT, "docs/assets/architecture.svg")))
    for name in ENGINES.own:
        assert name in drawn
    folders = re.findall(r"(?:neuroport|frontends)/\w+", drawn)
    assert len(folders) >= 3
    for folder in folders:
        assert (ROOT / "neuroport" / folder.removeprefix("neuroport/")).is_dir()


def test_every_page_of_docs_is_in_the_navigation() -> None:
    # tags of MkDocs are no plain YAML
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!ENV", lambda loader, node: None)
    navigation = yaml.dump(yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"])
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation, page
