"""A file of a result that holds an impossible number is refused, not added to the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.errors import CompareError, FormatError
from tests.unit.runs.test_shards import frames, network

Change = Callable[[dict[str, Any]], object]


def _set(*keys: Any) -> Change:
    """Set the value at a path of keys; the last is the value."""

    def change(found: dict[str, Any]) -> None:
        *path, last, value = keys
        place: Any = found
        for key in path:
            place = place[key]
        place[last] = value

    return change


@pytest.fixture(scope="module")
def verified() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both shards of a verification that is equal, and of one that differs in the second."""
    given = frames()
    given[:, :12] = 0

    def both(threshold: int) -> list[dict[str, Any]]:
        made = (
            port.verify(network(), network(threshold), given, shard=f"{number}/2")
            for number in (1, 2)
        )
        return [json.loads(json.dumps(each.to_dict())) for each in made]

    return both(20), both(90)


def merged(folder: Path, shards: list[dict[str, Any]]) -> Any:
    paths = []
    for number, each in enumerate(shards, 1):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(each))
    return port.merge(paths)


EQUAL: dict[str, Change] = {
    "positions is -1": _set("positions", -1),
    "positions is 0": _set("positions", 0),
    "populations is -1": _set("populations", -1),
    "populations is 0": _set("populations", 0),
    "samples is 0": _set("samples", 0),
    "spikes is -1": _set("spikes", -1),
    "spikes is 1000000000": _set("spikes", 10**9),
    "counts is -1": _set("counts", -1),
    "counts is 1180591620717411303424": _set("counts", 1 << 70),
    "differing is -1": _set("differing", -1),
    "by_population is": _set("by_population", {"a": -1}),
    "differing is 3": lambda found: found.update(differing=3, by_population={"a": 3}),
    "shard.stops is -1": _set("shard", "stops", -1),
    "shard.stops is False": _set("shard", "stops", False),
    "shard.stops is None": _set("shard", "stops", None),
    "shard.compared is": _set("shard", "compared", [[1]]),
    "shard.compared is []": _set("shard", "compared", []),
}
UNEQUAL: dict[str, Change] = {
    "differing is 0": lambda found: found.update(differing=0, by_population={}),
    "by_population is": lambda found: found.update(differing=found["differing"] + 1),
    "first.population is 'nosuch'": _set("first", "population", "nosuch"),
    "first.got is": lambda found: found["first"].update(got=found["first"]["expected"]),
    "first.sample is -1": _set("first", "sample", -1),
    "first.sample is 99": _set("first", "sample", 99),
    "first.step is -1": _set("first", "step", -1),
}


@pytest.mark.parametrize("says", EQUAL)
def test_an_impossible_number_of_equal_runs_is_named(
    verified: tuple[Any, Any], tmp_path: Path, says: str
) -> None:
    first, second = json.loads(json.dumps(verified[0]))
    assert merged(tmp_path, [first, second])
    EQUAL[says](second)
    with pytest.raises(FormatError) as caught:
        merged(tmp_path, [first, second])
    assert f"2.json: {says}" in caught.value.message
    assert "run it again" in caught.value.message


@pytest.mark.parametrize("says", UNEQUAL)
def test_an_impossible_number_of_runs_that_differ_is_named(
    verified: tuple[Any, Any], tmp_path: Path, says: str
) -> None:
    first, second = json.loads(json.dumps(verified[1]))
    assert not merged(tmp_path, [first, second])
    UNEQUAL[says](second)
    with pytest.raises(FormatError) as caught:
        merged(tmp_path, [first, second])
    assert f"2.json: {says}" in caught.value.message


def test_an_equal_shard_of_fewer_samples_than_it_has_is_refused(
    verified: tuple[Any, Any], tmp_path: Path
) -> None:
    first, second = json.loads(json.dumps(verified[0]))
    second["samples"] -= 1
    with pytest.raises(CompareError, match="compares not all samples of its shard"):
        merged(tmp_path, [first, second])


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("samples is 0", _set("samples", 0)),
        ("predictions is -1", _set("predictions", -1)),
        ("real_correct is 99", _set("real_correct", 99)),
        ("positions is 0", _set("populations", 0, "positions", 0)),
        ("real is -1", _set("populations", 0, "real", -1)),
        ("lsb is nan", _set("populations", 0, "lsb", float("nan"))),
        ("clipped is -1", _set("synapses", 0, "clipped", -1)),
    ],
)
def test_an_impossible_number_of_a_cost_is_named(tmp_path: Path, says: str, change: Change) -> None:
    pytest.importorskip("torch")
    from neuroport.nets.ms_resnet import MsResNet
    from tests.helpers.modules import frames_for, randomize

    net = randomize(MsResNet(1, (4, 6, 8), 2, 5), 0)
    given, labels = frames_for(net, samples=4), np.arange(4) % 5
    first, second = (
        json.loads(json.dumps(port.quantization_cost(net, given, labels, shard=f"{n}/2").to_dict()))
        for n in (1, 2)
    )
    merged(tmp_path, [first, second])
    change(second)
    with pytest.raises(FormatError) as caught:
        merged(tmp_path, [first, second])
    assert says in caught.value.message
