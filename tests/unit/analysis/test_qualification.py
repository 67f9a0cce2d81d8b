"""The record of a board: what an earlier run found is not lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import neuroport.analysis.qualification as module
from neuroport.analysis.qualification import qualify
from neuroport.backends.loihi2.site import Site
from neuroport.errors import StorageError
from neuroport.targets.board_record import EQUAL, Result, load_record
from neuroport.targets.qualification_networks import Construct


@pytest.fixture(autouse=True)
def _board(monkeypatch: pytest.MonkeyPatch) -> None:
    """A board that is equal in everything."""
    monkeypatch.setattr(module, "ready_site", lambda _: Site("site", 8, "slurm"))
    monkeypatch.setattr(module._Board, "ask", equal)


def equal(_: module._Board, construct: Construct) -> Result:
    return Result(EQUAL, construct.network()[0].hash, "", 1)


def recorded(out: Path) -> list[str]:
    return list(load_record(out).constructs)


@pytest.mark.parametrize("only", ["relay", ("relay", "spikes")])
def test_one_construct_does_not_replace_the_results_of_others(
    tmp_path: Path, only: str | Sequence[str]
) -> None:
    out = tmp_path / "board.json"
    qualify(out=out, only=("spikes", "weights", "relay"))
    before = out.read_bytes()
    with pytest.raises(StorageError, match=r"board\.json: is a record .* would be lost"):
        qualify(out=out, only=only)
    assert out.read_bytes() == before


def test_the_same_constructs_are_recorded_again(tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    qualify(out=out, only="relay")
    qualify(out=out, only=("spikes", "relay"))
    assert recorded(out) == ["spikes", "relay"]
    qualify(out=out)
    assert len(recorded(out)) > 30


def test_what_is_no_record_is_replaced_like_by_any_command(tmp_path: Path) -> None:
    out = tmp_path / "board.json"
    out.write_text("{}")
    qualify(out=out, only="relay")
    assert recorded(out) == ["relay"]
