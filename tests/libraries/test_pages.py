"""``docs/snntorch.md`` and ``docs/spikingjelly.md`` are run, and say what was measured."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from neuroport.files import read_json
from tests.libraries.__main__ import RESULTS

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def runs(page: str, folder: Path) -> None:
    """The code of a page, in one program, prints what the page says."""
    for text in blocks(page, "toml"):
        (folder / "tune.toml").write_text(text)
    script = folder / "page.py"
    script.write_text("\n".join(blocks(page, "python")))
    done = subprocess.run(
        [sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "".join(blocks(page, "text")).strip()


@pytest.mark.lava
def test_the_page_on_snntorch_prints_what_it_says(tmp_path: Path) -> None:
    pytest.importorskip("snntorch")
    runs("snntorch.md", tmp_path)


def test_no_network_that_was_measured_differs() -> None:
    found = read_json(RESULTS)["networks"]
    for library, count in (("snntorch", 6), ("spikingjelly", 11)):
        own = {name: one for name, one in found.items() if name.startswith(library)}
        assert len(own) == count
        for name, one in own.items():
            assert one["differing"] == 0, name
            assert one["largest difference from the library"] < 1e-4, name
            assert one["positions compared on lava-cpu"] > 0, name
