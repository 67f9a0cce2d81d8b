"""``docs/nir.md`` is run: its code and output, its commands, its table of primitives."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroport.files import read_json
from neuroport.frontends.nir.linear import LARGEST
from neuroport.frontends.nir.reading import KINDS
from tests.conftest import Neuroport
from tests.nir.__main__ import RESULTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "nir.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "tests/nir/files", tmp_path / "tests/nir/files")
    frames = np.random.default_rng(0).integers(0, 2, (60, 4, 12))
    np.save(tmp_path / "frames.npy", frames)
    return tmp_path


@pytest.mark.lava
def test_python_of_the_page_on_nir_prints_what_the_page_says(folder: Path) -> None:
    (code,), (output,) = blocks("python"), blocks("text")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == output.strip()


def test_commands_of_the_page_on_nir_run(called: Neuroport, folder: Path) -> None:
    (commands,) = blocks("sh")
    hashes = {}
    for line in commands.splitlines():
        done = called(*shlex.split(line, comments=True)[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
        hashes[line.split()[1], line.split()[2]] = done.stdout.split("hash ")[-1]
    made = hashes["import", "tests/nir/files/braille.nir"]
    assert hashes["import", "back.nir"] == made


def test_every_primitive_of_nir_is_on_its_page() -> None:
    table = PAGE.split("## Primitives")[1].split("## What rounding")[0]
    assert [kind for kind in KINDS if not re.search(rf"\b{kind}\b", table)] == []
    assert f"{LARGEST:,}" in table


def test_proof_on_the_page_is_the_committed_one() -> None:
    results = read_json(RESULTS)
    said = " ".join(PAGE.split())
    assert f"draws {results['networks']} random networks" in said
    assert re.search(rf"\b{results['on lava-cpu']} of them\b.*? Lava", said)
    assert f"{results['positions compared']:,} positions compared" in said
    assert f"and {results['positions compared on lava-cpu']:,} on Lava" in said
