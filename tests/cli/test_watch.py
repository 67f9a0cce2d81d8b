"""``neuroport watch``: a page while a training goes on, and a clean end."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.reporting.test_training_page import line, write


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write(tmp_path / "run", line(1), line(2))


def heard() -> None:
    """A shell ignores SIGINT for what it starts in the background, and so would this."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_it_serves_until_it_is_ended_and_leaves_nothing(
    number: signal.Signals,
    code: int,
    entry_point: list[str],
    run: Path,
    snapshot: Callable[[Path], dict[str, str]],
) -> None:
    before = snapshot(run.parent)
    process = subprocess.Popen(
        [*entry_point, "watch", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heard,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = next(word for word in said.split() if word.startswith("http://127.0.0.1:"))
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert b"Epoch 2 of 6 is done" in answer.read()
        process.send_signal(number)
        out, error = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert "Traceback" not in error
    assert (out, error) == (("ended\n", "") if code == 0 else ("", error))
    assert snapshot(run.parent) == before


def test_the_page_is_written_to_a_file_instead(called: Any, run: Path, tmp_path: Path) -> None:
    done = called("watch", run, "--html", "page.html", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "wrote page.html: 2 epochs\n")
    assert "Epoch 2 of 6 is done" in (tmp_path / "page.html").read_text()
    told = called("watch", run, "--html", "page.html", "--json", cwd=tmp_path)
    assert json.loads(told.stdout) == {"path": "page.html", "epochs": 2}


def test_a_folder_that_is_none_is_one_line(called: Any, tmp_path: Path) -> None:
    done = called("watch", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "neuroport: nothing: no such folder; give the folder of a training run "
        "(neuroport train -o)\n"
    )
