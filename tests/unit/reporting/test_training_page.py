"""The page of a training: what it draws, who may read it, and how it keeps up."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from neuroport.errors import FormatError, StorageError
from neuroport.reporting.training_page import COLUMNS, ROWS, _number, page
from neuroport.reporting.training_server import TrainingServer
from neuroport.training.metrics import read_metrics

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOSTILE = "<script>alert(1)</script>\x1b[31m"


def line(epoch: int, epochs: int = 6, blocks: int = 3, name: str = "blocks.{}") -> dict[str, Any]:
    """An epoch of a run, the last third of it in integers."""
    whole = epoch > epochs * 2 // 3
    names = [name.format(at) for at in range(blocks)]
    populations = {
        each: {"neurons": 100, "spikes": 0.1 * (at + 1) / epoch, "dormant": 0.05 * at}
        | ({"saturated": at} if whole else {})
        for at, each in enumerate(names)
    }
    found: dict[str, Any] = {
        "phase": "quantized" if whole else "float",
        "epoch": epoch,
        "epochs": epochs,
        "loss": 2.0 / epoch,
        "accuracy": 100 - 80 / epoch,
        "samples": 20,
        "seconds": 12.5,
        "gradients": {"batches": 3, "blocks": {each: 0.1**at for at, each in enumerate(names)}},
        "activity": {"samples": 32, "populations": populations},
    }
    if whole:
        found["weights"] = {each: {"weights": 1000, "clipped": at} for at, each in enumerate(names)}
    return found


def write(folder: Path, *lines: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return folder


def drawn(html: str, label: str) -> ElementTree.Element:
    """The picture whose label begins so."""
    (found,) = re.findall(rf'<svg[^>]*aria-label="{label}.*?</svg>', html, re.DOTALL)
    return ElementTree.fromstring(found)


def titles(picture: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in picture.iter("title")]


def test_curves_and_maps_hold_every_number_of_the_run(tmp_path: Path) -> None:
    lines = [line(epoch) for epoch in range(1, 7)]
    html = page("run", read_metrics(write(tmp_path, *lines)))
    told = titles(drawn(html, "Loss: 2 in epoch 1, 0.333 in epoch 6"))
    assert told == [f"epoch {e['epoch']}: {e['loss']:.3g}" for e in lines]
    assert len(titles(drawn(html, "Accuracy"))) == len(titles(drawn(html, "Dormant neurons:"))) == 6
    assert titles(drawn(html, "Clipped weights: 3")) == ["epoch 5: 3", "epoch 6: 3"]
    gradient = titles(drawn(html, "Gradient norm of each block"))
    assert len(gradient) == 18
    assert gradient[-1] == "blocks.2, epoch 6: 0.01"
    shades = [c.get("fill-opacity") for c in drawn(html, "Gradient norm").iter("rect")]
    assert sorted({*shades}) == ["0.1", "0.55", "1"]  # a decade apart each
    assert "<b>Done: 6 epochs</b>" in html
    assert "trained in integers" in html


def test_page_of_a_file_holds_all_it_shows_and_no_script(tmp_path: Path) -> None:
    html = page("run", read_metrics(write(tmp_path, line(1), line(2))))
    assert "<script" not in html
    assert "default-src 'none'" in unescape(html)
    assert not re.search(r"(?:src|href)=(?![\"']data:)", html)
    assert "about 50 s left" in html


def test_numbers_of_four_digits_are_written_out() -> None:
    said = [_number(each) for each in (0.5, 12.34, 999.6, 1234.4, 56789.0, 2e5)]
    assert said == ["0.5", "12.3", "1,000", "1,234", "56,789", "2.0e+05"]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    lines = [line(epoch, name=HOSTILE + "{}") for epoch in (5, 6)]
    html = page(HOSTILE, read_metrics(write(tmp_path, *lines)))
    assert "<script" not in html
    assert "\x1b" not in html
    assert html.count("&lt;script&gt;alert(1)") > 10


def test_long_run_of_a_deep_network_says_what_is_left_out(tmp_path: Path) -> None:
    lines = [line(epoch, 200, 100) for epoch in range(1, 201)]
    html = page("run", read_metrics(write(tmp_path, *lines)))
    assert f"{ROWS} of 100 rows and {COLUMNS} of 200 epochs are drawn" in html
    told = titles(drawn(html, "Gradient norm of each block"))
    assert told[0].startswith("blocks.0, epoch 1:")
    assert told[-1].startswith("blocks.99, epoch 200:")
    assert len(html) < 3 << 20


def test_run_that_has_told_nothing_yet_says_so(tmp_path: Path) -> None:
    assert "No epoch has finished yet." in page("run", [])
    old = {k: v for k, v in line(1).items() if k not in ("gradients", "activity", "weights")}
    assert "trained by an older neuroport" in page("run", read_metrics(write(tmp_path, old)))


# -- the server ------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrainingServer]:
    write(tmp_path / "run", line(1))
    (tmp_path / "run" / "secret.txt").write_text("secret")
    with TrainingServer(tmp_path / "run") as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(
    server: TrainingServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], str]:
    to = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
    to.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        to.putheader("Host", host)
    to.endheaders()
    answer = to.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    to.close()
    return found


def test_server_listens_on_this_machine_alone_and_answers_who_knows_the_token(
    server: TrainingServer,
) -> None:
    assert server.server_address[0] == "127.0.0.1"
    own = urlsplit(server.url).path
    assert len(server.token) >= 32
    status, headers, text = ask(server, own)
    assert status == 200
    assert "1 of 6 is done" in text
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    wrong = f"{own[:-2]}{'y' if own[-2] == 'x' else 'x'}/"  # a token may end in x
    guessed = ("/", "", own[:-1], own[:-2] + "/", wrong, "/%2e%2e/", "/x" + own, "//")
    for path in guessed:
        assert ask(server, path or "/body")[0] == 404, path


@pytest.mark.parametrize(
    "path",
    [
        *("secret.txt", "metrics.jsonl", "../run/secret.txt", "..%2fsecret.txt", "body/"),
        *("%2e%2e/%2e%2e/etc/passwd", "..\\secret.txt", "body%00", "/etc/passwd"),
    ],
)
def test_no_file_is_reached_by_a_path(server: TrainingServer, path: str) -> None:
    status, _, text = ask(server, urlsplit(server.url).path + path)
    assert (status, text) == (404, "Not found.\n")


def test_another_name_for_this_machine_and_other_methods_are_refused(
    server: TrainingServer,
) -> None:
    own, port = urlsplit(server.url).path, server.server_address[1]
    assert ask(server, own, host=f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", ""):
        assert ask(server, own, host=host)[0] == 404, host
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert ask(server, own, method)[0] == 501
    assert ask(server, own, "HEAD")[2] == ""


def test_page_asks_again_and_gets_what_is_new(server: TrainingServer) -> None:
    own = urlsplit(server.url).path
    _, headers, text = ask(server, f"{own}body?since=")
    assert text.lstrip().startswith("<header>")
    tag = headers["X-Tag"]
    assert ask(server, f"{own}body?since={tag}")[::2] == (204, "")
    write(server.folder, line(1), line(2))
    status, again, text = ask(server, f"{own}body?since={tag}")
    assert (status, "2 of 6 is done" in text) == (200, True)
    assert again["X-Tag"] != tag
    (server.folder / "metrics.jsonl").write_text("<b>broken</b>")
    status, _, text = ask(server, f"{own}body?since={tag}")
    assert status == 200
    assert "not JSON" in text
    assert "<b>" not in text
    assert ask(server, own)[0] == 200


def test_folder_that_is_none_and_a_port_that_is_taken_are_refused(
    server: TrainingServer, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="no such folder"):
        TrainingServer(tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"cannot listen on 127\.0\.0\.1.*use another --port"):
        TrainingServer(tmp_path / "run", server.server_address[1])
    (tmp_path / "run" / "metrics.jsonl").write_text("{}")
    with pytest.raises(FormatError, match="not the metrics of an epoch"):
        TrainingServer(tmp_path / "run")


# -- in a browser ----------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_page_keeps_up_in_a_browser_and_keeps_what_was_opened(server: TrainingServer) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            for width, scheme in ((400, "dark"), (1280, "light")):
                write(server.folder, line(1))
                view = browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                said: list[str] = []
                view.on("console", lambda message, said=said: said.append(message.text))
                view.on("pageerror", lambda error, said=said: said.append(str(error)))
                view.goto(server.url)
                view.get_by_text("Epoch 1 of 6 is done").wait_for()
                assert view.evaluate("document.documentElement.scrollWidth") <= width
                view.locator("#blocks summary").focus()
                view.keyboard.press("Enter")
                assert view.locator("#blocks").evaluate("each => each.open")
                write(server.folder, line(1), line(2))
                view.get_by_text("Epoch 2 of 6 is done").wait_for(timeout=6000)
                assert view.locator("#blocks").evaluate("each => each.open")
                assert view.evaluate("document.activeElement.id") == "blocks-title"
                assert view.locator("svg.curve").first.bounding_box()["height"] > 100
                assert said == []
                view.close()
        finally:
            browser.close()
