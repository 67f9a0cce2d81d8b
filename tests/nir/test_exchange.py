"""Networks of NIR that we wrote, run by the tools of others."""

from __future__ import annotations

import sys

import pytest

from tests.nir.exchange import exchanged


def test_snntorch_runs_what_we_write_with_the_spikes_of_our_integers() -> None:
    pytest.importorskip("snntorch")
    pytest.importorskip("nirtorch")
    done = exchanged(range(3, 6), sys.executable, ("snntorch",))
    ran = [one for one in done["found"] if one["what"] != "refused"]
    alike = [one for one in ran if "loop" not in one["features"]]
    assert len(alike) >= 3
    assert sum(one["spikes"] for one in alike) > 50
    assert all(one["differing"] == 0 for one in alike)
