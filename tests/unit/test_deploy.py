"""The scripts of ``deploy`` are whole: their networks are legal, their example site is read."""

from __future__ import annotations

import os
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


FAKE = """#!/bin/sh
if [ "$1" = run ]; then
  network=$(cat "$2") frames=$(cat "$4"); shift 4
  while [ $# -gt 0 ]; do
    case "$1" in --shard) shard=$2 ;; -o) out=$2 ;; esac
    shift 2
  done
  printf '%s %s\\n' "$network" "$shard" > "$out"
  [ "$frames" = "a b.npy" ]; exit
fi
shift; found=
while [ "$1" != -o ]; do found="$found$(cat "$1");"; shift; done
printf '%s' "$found" > "$2"
"""


@pytest.mark.parametrize("script", ["shards.sh", "shards.sbatch"])
def test_shards_of_another_network_are_not_taken_for_those_of_this_one(
    root: Path, tmp_path: Path, script: str
) -> None:
    (tmp_path / "neuroport").write_text(FAKE)
    (tmp_path / "neuroport").chmod(0o755)
    for name in ("a.net", "b.net", "a b.npy"):
        (tmp_path / name).write_text(name)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"

    def run(network: str, *options: str, shards: int = 2) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(root / "deploy" / "scale" / script), network, "a b.npy", "o.trace"]
        slurm = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": str(shards)}
        number = [str(shards), "1"] if script == "shards.sh" else []
        return subprocess.run(
            [*command, *number, *options],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, **slurm},
            capture_output=True,
            text=True,
        )

    assert run("nothing.net").returncode == 2
    assert not (tmp_path / "o.trace.shards").exists()
    for network in ("a.net", "./a.net"):
        done = run(network)
        assert done.returncode == 0, done.stderr
    for other in (run("b.net"), run("a.net", shards=3), run("a.net", "--on", "fast")):
        assert other.returncode == 2
        assert f"{script}: o.trace.shards holds shards of another network" in other.stderr
    assert (tmp_path / "o.trace.shards" / "1.trace").read_text() == "a.net 1/2\n"
    if script == "shards.sh":
        assert (tmp_path / "o.trace").read_text() == "a.net 1/2;a.net 2/2;"


def test_letters_of_a_name_stay_what_they_are(root: Path, tmp_path: Path) -> None:
    (tmp_path / "neuroport").write_text(FAKE)
    (tmp_path / "neuroport").chmod(0o755)
    for name in ("N {} $1.net", "1 {} $1.net", "2 {} $1.net", "a b.npy"):
        (tmp_path / name).write_text(name)
    script, out = root / "deploy" / "scale" / "shards.sh", tmp_path / "N.trace"
    command = ["sh", str(script), "N {} $1.net", "a b.npy", out.name, "2", "2", "--on", "N"]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert out.read_text() == "N {} $1.net 1/2;N {} $1.net 2/2;"
