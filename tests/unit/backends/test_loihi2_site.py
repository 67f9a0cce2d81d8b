"""A site's file is read strictly, and every piece that lacks is named, the first one first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neuroport.backends.lava_cpu import installation
from neuroport.backends.loihi2.availability import EXTENSION, is_installed, unreachable
from neuroport.backends.loihi2.site import Site, load_site
from neuroport.engines.table import ready
from neuroport.errors import BackendError, TargetError

STANDINS = Path(__file__).resolve().parents[2] / "standins"
SLURM = 'chips = 8\n[slurm]\npartition = "kp"\n'


def site(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_a_site_holds_what_its_file_says_and_the_usual_else(tmp_path: Path) -> None:
    found = load_site(
        site(
            tmp_path,
            """
            board = "kapoho-point"
            chips = 8
            generation = "N3C1"
            [ethernet]
            host_address = "10.0.0.5"
            [environment]
            NXOPTIONS = "--pmics=0x47"
            [timing]
            input_delay = 1
            """,
        )
    )
    assert (found.host, found.address, found.board) == ("ethernet", "10.0.0.5", "kapoho-point")
    assert found.binary == "nxcore/bin/nx_driver_server"
    assert found.environment == {"NXOPTIONS": "--pmics=0x47"}
    assert (found.input_delay, found.output_delay, found.read_delay) == (1, 0, 1)
    assert found.where == "kapoho-point, N3C1, host 10.0.0.5"
    assert Site(**found.to_dict()) == found


def test_the_file_of_a_board_lies_where_its_site_does(tmp_path: Path) -> None:
    board = tmp_path / "mine.toml"
    for told in ("mine.toml", str(board)):
        found = load_site(site(tmp_path, f'board = "{told}"\n{SLURM}'))
        assert found.board == str(board)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("chips = 8\n", "neither [slurm] nor [ethernet]"),
        (SLURM + "[ethernet]\n", "both [slurm] and [ethernet]"),
        ("[slurm]\n", "chips is missing"),
        ("chips = 0\n[slurm]\n", "chips is 0; it must be a whole number, 1 or more"),
        ("chips = true\n[slurm]\n", "chips is True"),
        ("chips = 8\n[slurm]\npartitoin = 'kp'\n", "did you mean 'partition'?"),
        ("chip = 8\n[slurm]\n", "did you mean 'chips'?"),
        ("chips = 8\nslurm = 'kp'\n", "make it a table [slurm]"),
        (SLURM + "board = 'n1'\n", "a partition and a board; Lava takes one of them"),
        ("chips = 8\ngeneration = 'N4'\n[slurm]\n", "use N3B2, N3B3, N3C1, N3D1"),
        (SLURM + "[timing]\ninput_delay = -1\n", "timing.input_delay is -1"),
        (SLURM + "[environment]\nNXOPTIONS = 3\n", "environment.NXOPTIONS is 3"),
        ("chips = \n", "not TOML"),
    ],
)
def test_a_file_that_is_no_site_is_refused_with_the_key(
    tmp_path: Path, text: str, told: str
) -> None:
    path = site(tmp_path, text)
    with pytest.raises(TargetError) as caught:
        load_site(path)
    assert str(path) in caught.value.message
    assert told in caught.value.message


def test_a_site_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"nowhere\.toml"):
        load_site(tmp_path / "nowhere.toml")


def test_a_module_whose_parent_is_missing_is_not_installed() -> None:
    assert not is_installed("no.such.parent")
    assert is_installed("neuroport.errors")


def test_a_board_that_cannot_be_asked_is_told_with_what_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # neither sinfo nor ping
    assert "sinfo is missing here" in (unreachable(Site("s.toml", 8, "slurm")) or "")
    assert "host_address is not set" in (unreachable(Site("s.toml", 8, "ethernet")) or "")
    reason = unreachable(Site("s.toml", 8, "ethernet", address="10.0.0.5"))
    assert "ping is missing here" in (reason or "")
    for name in ("sinfo", "ping"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert unreachable(Site("s.toml", 8, "slurm")) is None
    assert unreachable(Site("s.toml", 8, "ethernet", address="10.0.0.5")) is None


def told_by(folder: Path, *, standins: Path | None, site: Path | None = None) -> str:
    """What the engine says is missing, in a process of its own."""
    root = Path(__file__).resolve().parents[3]
    paths = [str(root), *([str(standins)] if standins else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PATH": str(folder)}
    environment.pop("NEUROPORT_SITE", None)
    if site is not None:
        environment["NEUROPORT_SITE"] = str(site)
    code = "from neuroport.engines.loihi2 import Loihi2; print(Loihi2().available())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.lava
@pytest.mark.parametrize("lacking", range(len(EXTENSION)))
def test_the_first_missing_module_of_the_extension_is_named(tmp_path: Path, lacking: int) -> None:
    copied = tmp_path / "standins"
    shutil.copytree(STANDINS, copied)
    for module in EXTENSION[lacking:]:
        (copied / (module.replace(".", "/") + ".py")).unlink()
    reason = told_by(tmp_path, standins=copied)
    assert f"(no module {EXTENSION[lacking]})" in reason


@pytest.mark.lava
def test_behind_the_extension_a_site_is_missing_then_access_then_nothing(tmp_path: Path) -> None:
    assert "no site; give a TOML file" in told_by(tmp_path, standins=STANDINS)
    path = site(tmp_path, SLURM)
    assert "sinfo is missing here" in told_by(tmp_path, standins=STANDINS, site=path)
    (tmp_path / "sinfo").write_text("#!/bin/sh\n")
    (tmp_path / "sinfo").chmod(0o755)
    assert told_by(tmp_path, standins=STANDINS, site=path) == "None"
    path.write_text("chips = 8\n")
    assert "neither [slurm] nor [ethernet]" in told_by(tmp_path, standins=STANDINS, site=path)


def test_without_lava_that_is_told_before_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuroport.engines.loihi2 import Loihi2

    monkeypatch.setattr(installation, "missing", lambda: "Lava needs Python 3.10")
    assert Loihi2().available(Loihi2.Options(site="nowhere.toml")) == "Lava needs Python 3.10"


def test_a_site_is_for_the_engine_of_a_board_alone() -> None:
    with pytest.raises(BackendError, match="'reference' has no option 'site'"):
        ready("reference", {"site": "site.toml"})


@pytest.mark.parametrize("option", [("--measure",), ("--frames-by", "bias")])
def test_options_of_a_board_are_refused_on_other_engines(
    neuroport: Any, tmp_path: Path, option: tuple[str, ...]
) -> None:
    done = neuroport("run", "a.net", "--frames", "a.npy", *option, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"neuroport: {option[0]} is for loihi2; leave it out on 'reference'\n"
