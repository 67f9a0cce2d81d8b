"""The scripts of ``deploy`` are whole: their networks are legal, their example site is read."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import neuroport as port
from neuroport.backends.loihi2.measured import STATUS
from neuroport.backends.loihi2.site import load_site
from neuroport.engines.loihi2 import Loihi2
from neuroport.errors import StorageError
from neuroport.targets.target import load_target


def test_the_example_site_is_a_site_with_a_known_board(root: Path) -> None:
    site = load_site(root / "deploy" / "loihi2" / "site.toml")
    assert load_target(site.board)["chips"] == site.chips == 8
    assert (site.input_delay, site.output_delay, site.read_delay) == (0, 0, 1)


def test_everything_for_a_board_says_that_it_was_not_run_on_hardware(root: Path) -> None:
    files = sorted((root / "deploy" / "loihi2").iterdir())
    assert {"run.py", "site.toml", "job.sbatch", "README.md"} <= {file.name for file in files}
    for file in (*files, root / "docs" / "loihi2.md", root / "README.md"):
        assert "not run on hardware" in file.read_text().lower(), file
    assert "not run on hardware" in STATUS
    assert "not run on hardware" in Loihi2().summary


def test_the_batch_job_is_a_shell_script(root: Path) -> None:
    job = root / "deploy" / "loihi2" / "job.sbatch"
    subprocess.run(["bash", "-n", str(job)], check=True)


@pytest.mark.parametrize("script", ["loihi2/run.py", "lava_cpu/run.py"])
def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    site = ["site.toml"] if script.startswith("loihi2") else []
    monkeypatch.setattr(sys, "argv", ["run.py", "a.net", "frames.npy", *site, str(taken)])
    monkeypatch.setattr(port, "run", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(StorageError, match="taken is a file where a folder is needed"):
        runpy.run_path(str(root / "deploy" / script))["main"]()
