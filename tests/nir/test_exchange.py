"""Networks of NIR that we wrote, run by the tools of others."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from neuroport.files import read_json
from tests.nir.exchange import LONG, RESULTS, SHORT, THRESHOLDS, exchanged

DONE = read_json(RESULTS)
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "nir.md").read_text()
OWN = {  # what a tool computes in its own way: one of these is in every network that differs
    "spikingjelly": set(),
    "snntorch": {"loop"},
    "norse": {"branches meet", "delay", "v_leak beside a current"},
}


def test_snntorch_runs_what_we_write_with_the_spikes_of_our_integers() -> None:
    pytest.importorskip("snntorch")
    pytest.importorskip("nirtorch")
    done = exchanged(range(3, 6), sys.executable, ("snntorch",))
    ran = [one for one in done["found"] if one["what"] != "refused"]
    alike = [one for one in ran if "loop" not in one["features"]]
    assert len(alike) >= 3
    assert sum(one["spikes"] for one in alike) > 50
    assert all(one["differing"] == 0 for one in alike)


@pytest.mark.parametrize("tool", OWN)
def test_tools_differ_from_the_equations_of_a_file_only_where_it_is_said(tool: str) -> None:
    for steps, least in ((SHORT, 300), (LONG, 20)):
        part = DONE[f"samples of {steps} steps"]
        assert part["networks"] >= least
        for kind in ("without a leak", "with a leak"):
            found = part["tools"][tool][kind]
            apart = found["other than the equations of the file"]
            assert all(OWN[tool] & set(key.split(", ")) for key in apart)
            rounded = found["the equations of the file, which differ from the integers"]
            assert found["equal"] == found["files"] - sum(apart.values()) - rounded
            assert found["spikes"] > 2000
            if steps == SHORT:
                assert rounded == 0
                assert found["equal"] > 100


def test_slow_leaks_differ_by_the_rounding_of_integers_and_in_all_tools_alike() -> None:
    rows = DONE["slow leaks"]
    assert len(rows) == len(THRESHOLDS) * len(OWN)
    assert all(row["from equations"] == 0 for row in rows)
    moved = {row["seed"]: row["differing"] for row in rows}
    assert all(row["differing"] == moved[row["seed"]] for row in rows)
    assert moved["decay1024"] == 0 < min(moved["decay0064"], moved["decay0008"])


def test_the_page_says_what_was_measured() -> None:
    part = DONE[f"samples of {SHORT} steps"]["tools"]
    for name, tool in (
        ("SpikingJelly", "spikingjelly"),
        ("snnTorch", "snntorch"),
        ("Norse", "norse"),
    ):
        found = part[tool]
        numbers = [str(sum(found["refused"].values()))]
        numbers += [
            f"{found[kind]['equal']} of {found[kind]['files']}"
            for kind in ("without a leak", "with a leak")
        ]
        assert re.search(rf"\| {name} [\d.]+ \| {' . '.join(numbers)} \|", PAGE), (name, numbers)
