"""Nothing depends on how narrow a graph holds its arrays: bounds, texts, files, passes, engines."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from neuroport import hdf5
from neuroport.errors import IllegalError
from neuroport.graph import array_storage, store
from neuroport.graph.float_exactness import largest_sum
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Delay, Dense, Input, Lif, Readout, Recurrent, Relay
from neuroport.kernels import compilation
from neuroport.lowering.carriers import carry
from neuroport.lowering.cost import cost
from neuroport.lowering.exponents import split_exponents
from neuroport.lowering.partial_sums import partial_sums, parts_by_source
from neuroport.lowering.shared_sums import share_dendrites, share_messages
from neuroport.quantization.weight_levels import few_levels
from neuroport.targets.population_demands import population_demands
from neuroport.targets.rules import too_wide
from tests.properties.interpreter import interpret
from tests.properties.networks import network
from tests.properties.proof import FAST, REFERENCE, WAYS, prove

# of a type, of a type and a common zero bit, and one beyond each
EXTREMES = ((-128, 127), (-129, 128), (-256, 254), (-254, 254), (-32768, 32767), (-65536, 65534))
RECURRENT = ("e", "potential")  # the interpreter has no recurrent weights
SEEDS = (100_001, 100_003, 100_008)  # with projections, delays, groups and recurrent neurons


@contextmanager
def held(few: int) -> Iterator[None]:
    """Arrays of more values than ``few`` are held narrow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_storage, "SMALL", few)
        yield


def narrow() -> object:
    return held(-1)


def wide() -> object:
    return held(1 << 62)


def extreme(low: int, high: int) -> Graph:
    """Weights, thresholds and biases at both ends of a type, wherever a graph may have them."""
    rng = np.random.default_rng(high)

    def ends(*shape: int) -> np.ndarray:
        values = rng.choice([low, high, low // 2, high // 2, 0], shape)
        values.flat[:2] = low, high
        return np.asarray(values, np.int64)

    threshold = np.array([high, high // 2, high + 1, 1])
    nodes = [
        Input("frames", (3, 6, 6), bits=1),
        Conv("stem", ("frames",), ends(4, 3, 3, 3), padding=(1, 1)),
        Lif("a", ("stem",), threshold, np.array([4096]), np.array([2048]), ends(4)),
        Conv("inner", ("a",), ends(4, 4, 3, 3), 2, padding=(1, 1)),
        Lif("b", ("inner",), threshold, np.array([4000]), np.array([4095]), ends(4, 6, 6)),
        Conv("outer", ("b",), ends(4, 2, 3, 3), 1, padding=(1, 1), groups=2),
        Lif("c", ("stem", "outer"), threshold, bias=ends(1)),
        Relay("stream", ("stem", "outer"), shift=9),
        Conv("projection", ("stream",), ends(5, 4, 1, 1), stride=(2, 2)),
        Lif("d", ("projection",), np.array([high]), voltage_decay=ends(5).clip(0, 4096)),
        Dense("sum", ("d",), ends(6, 45), 1, np.arange(270).reshape(6, 45) % 3),
        Recurrent("e", ("sum",), ends(6, 6), np.array([high // 3]), bias=ends(6)),
        Delay("later", ("e",), 2),
        Dense("classes", ("later", "e"), np.repeat(ends(3, 2), 3, axis=1)),
        Readout("potential", ("classes",), ends(3)),
    ]
    return Graph(nodes, 4)


def again(graph: Graph) -> Graph:
    """The same graph of nodes that are made anew."""
    nodes = [type(n)(**{item.name: getattr(n, item.name) for item in fields(n)}) for n in graph]
    return Graph(nodes, graph.steps, graph.interval, graph.checked)


def derived(graph: Graph) -> list[object]:
    """What follows from a graph without a run."""
    told: list[object] = [graph.hash, str(graph), cost(graph), list(too_wide(graph))]
    for node in graph:
        facts = graph.facts(node.name)
        told += [
            [getattr(facts, name).tolist() for name in ("low", "high", "reach_low", "reach_high")],
            [node.title(), node.details(), node.text(), node.longest_delay],
        ]
    told += [largest_sum(graph, node) for node in graph.synapses]
    told += [few_levels(graph), population_demands(graph)]
    return told


def stored(graph: Graph) -> bytes:
    buffer = io.BytesIO()
    hdf5.writer(lambda file: store.fill(graph, file))(buffer)
    return buffer.getvalue()


def passed(graph: Graph) -> list[Graph]:
    """What the passes make of a graph, where they apply."""
    found = [split_exponents(graph), partial_sums(graph, 8), parts_by_source(graph)]
    found += [share_dendrites(graph), share_messages(graph)]
    for carrier, align in WAYS:
        try:
            found.append(carry(graph, carrier, align))
        except IllegalError:
            continue
    return found


@pytest.mark.parametrize(("low", "high"), EXTREMES)
def test_extremes_of_every_type_mean_the_same_however_they_are_held(
    low: int, high: int, tmp_path: Path
) -> None:
    frames = np.random.default_rng(0).integers(0, 2, (4, 3, 3, 6, 6))
    told: list[list[object]] = []
    for way in (narrow, wide):
        with way():
            graph = extreme(low, high)
            kinds = {graph[name].packed("weight").stored.dtype.itemsize for name in ("stem", "sum")}
            assert (max(kinds) < 8) == (way is narrow)
            graphs = [graph, *passed(graph)]
            told.append([derived(each) for each in graphs])
            if high < 1 << 15:
                told[-1].append(stored(graph))
                back = store.load(store.save(graph, tmp_path / "a.graph"))
                assert derived(back) == told[-1][0]
            want = interpret(graph, frames)[0]
            runs = [engine.run(graph, frames).messages for engine in (REFERENCE, FAST)]
            with compilation.plain():
                runs.append(FAST.run(graph, frames).messages)
            for node in graph.populations:
                for run in runs[1:]:
                    np.testing.assert_array_equal(run[node.name], runs[0][node.name])
                if node.name not in RECURRENT:
                    np.testing.assert_array_equal(runs[0][node.name], want[node.name])
            runs += [REFERENCE.run(each, frames).messages for each in graphs[1:]]
            told[-1].append([{k: v.tolist() for k, v in run.items()} for run in runs])
    assert told[0] == told[1]


@pytest.mark.parametrize("seed", SEEDS)
def test_engines_and_carriers_agree_on_a_random_network_held_narrow(seed: int) -> None:
    case = network(seed)
    with wide():
        want = derived(again(case.graph)), stored(again(case.graph)), prove(case, seed)
    with narrow():
        case = network(seed)
        got = derived(again(case.graph)), stored(again(case.graph)), prove(case, seed)
    assert got == want
