"""All engines on one random network, every population, no tolerance.

The interpreter says what a network means. The reference and the fast engine must say the same in
ideal time; so must the network after every lowering that applies, the one for a chip among them, in
ideal and in chip time; and so must, where asked, real Lava processes for one of the lowerings and
for that of the chip, and unmodified NetX for a chain.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

import neuroport as port
from neuroport.engines.fast import Fast
from neuroport.engines.reference import Reference
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Lif, Node
from neuroport.kernels import compilation
from neuroport.lowering.layer_chain import chain
from neuroport.lowering.reset_interval import pad_interval
from tests.helpers.processors import OLDER, instructions
from tests.properties.features import features
from tests.properties.interpreter import interpret, interpret_chip
from tests.properties.networks import LAVA_EVERY, Case
from tests.properties.stock import chain_messages, netx_messages

Messages = Mapping[str, np.ndarray]
REFERENCE, FAST = Reference(), Fast()
CHAIN = "stock file"  # how Lava ran a chain
CHIP = "kapoho-point"
ON_LAVA_FOR_CHIP = f"lava-cpu, as lowered for {CHIP}"
OURS = "neuroport.backends.lava_cpu.processes.fixed_pt"
# bring frames in, write rasters down; delays of messages within a sample
NO_NEURONS = {
    f"{OURS}.{name}" for name in ("FrameSource", "RasterSink", "LateSynapse", "DelayLine")
}
WAYS = (
    ("relay", "relays"),
    ("relay", "delays"),
    ("unroll", "relays"),
    ("unroll", "delays"),
    ("stock", "relays"),  # the graph of unroll with relays, seen as a chain of layers
)
ROTATED = 4  # ways that take turns: the last one adds nothing to run


class DivergenceError(AssertionError):
    """Two engines differ; says which and where."""


@dataclass
class Outcome:
    """What was compared on a network, and what it had.

    ``compared`` counts, by comparison, positions of each kind of population, all of them equal.
    """

    graph: str
    features: dict[str, int]
    populations: int
    silent: int
    always: int
    compared: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)  # way -> reason
    lava: str = ""  # the way that Lava ran


def prove_chain(case: Case) -> Outcome:
    """Run a chain on the reference engine and, as the stock file it becomes, in unmodified NetX.

    Raises:
        DivergenceError: with the first pair of engines that differ.
    """
    graph, frames = case.graph, case.frames
    want, seen = interpret(graph, frames)
    rates = Counter(want[node.name].mean() for node in graph if isinstance(node, Lif))
    outcome = Outcome(
        graph.hash, features(case, seen), rates.total(), rates[0.0], rates[1.0], lava=CHAIN
    )
    got = REFERENCE.run(graph, frames).messages
    outcome.compared["reference"] = equal("interpreter", "reference", graph, want, got)
    outcome.compared.update(stock(port.lower(graph, carrier="stock"), frames, lava=True))
    return outcome


def prove(case: Case, number: int = 0, lava: bool = False) -> Outcome:
    """Run ``case`` on every engine; its number chooses, in rotation, what runs only once.

    Raises:
        DivergenceError: with the first pair of engines that differ.
    """
    graph, frames = case.graph, case.frames
    want, seen = interpret(graph, frames)
    rates = [want[node.name].mean() for node in graph if isinstance(node, Lif)]
    constant = Counter(rates)
    outcome = Outcome(graph.hash, features(case, seen), len(rates), constant[0.0], constant[1.0])
    compared = outcome.compared
    for name, got in evaluated(graph, frames):
        compared[name] = equal("interpreter", name, graph, want, got)
    ways: dict[str, Graph] = {}
    for carrier, align in WAYS:
        way = f"{carrier}, {align}"
        try:
            ways[way] = port.lower(graph, carrier=carrier, align=align)
        except IllegalError as error:
            outcome.refused[way] = reason(error.message)
        else:
            compared[way] = carried(way, graph, ways[way], frames, want)
    turn = number // LAVA_EVERY if lava else number
    rotated = list(ways)[:ROTATED]
    if rotated:
        way = rotated[turn % len(rotated)]
        compared.update(once(way, ways[way], frames))
        if lava:
            compared.update(on_lava(way, ways[way], frames))
            outcome.lava = way
    alike = uniform(graph)
    try:
        chip = port.lower(alike, CHIP)
    except IllegalError as error:
        outcome.refused[CHIP] = reason(error.message)
    else:
        known = want if alike is graph else interpret(alike, frames)[0]
        compared[CHIP] = carried(CHIP, alike, chip, frames, known)
        if lava:
            compared.update(as_for_chip(chip, frames))
    if "stock, relays" in ways:
        compared.update(stock(ways["stock, relays"], frames, lava))
    return outcome


def evaluated(graph: Graph, frames: np.ndarray) -> Iterator[tuple[str, Messages]]:
    """The built-in engines; the fast one also without kernels, and as on an older processor."""
    for engine in (REFERENCE, FAST):
        yield engine.name, engine.run(graph, frames).messages
    with compilation.plain():
        yield "fast, without kernels", FAST.run(graph, frames).messages
    with instructions(*OLDER):
        yield "fast, older processor", FAST.run(graph, frames).messages


def carried(
    way: str, graph: Graph, lowered: Graph, frames: np.ndarray, want: Messages
) -> dict[str, int]:
    """A lowered graph means what ``graph`` does, in ideal and, in both engines, in chip time."""
    ideal = REFERENCE.run(lowered, frames).messages
    count = Counter(equal("interpreter", f"{way} in ideal time", graph, want, ideal))
    for engine in (REFERENCE, FAST):
        chip = engine.run(lowered, frames, time_model="chip").messages
        label = f"{way} on {engine.name} in chip time"
        count.update(equal("ideal time", label, lowered, ideal, chip))
    return dict(count)


def once(way: str, lowered: Graph, frames: np.ndarray) -> dict[str, dict[str, int]]:
    """Chip time interpreted, and with idle steps between samples."""
    ideal = REFERENCE.run(lowered, frames).messages
    interpreted = interpret_chip(lowered, frames)
    padded = pad_interval(lowered)
    late = REFERENCE.run(padded, frames, time_model="chip").messages
    name = "interpreter in chip time"
    pause = "interval of a power of two"
    return {
        name: equal("ideal time", f"{way}, {name}", lowered, ideal, interpreted),
        pause: equal("ideal time", f"{way}, {pause}", lowered, ideal, late),
    }


def on_lava(way: str, lowered: Graph, frames: np.ndarray) -> dict[str, dict[str, int]]:
    """Real Lava processes, stock ones and the fused one."""
    ideal = REFERENCE.run(lowered, frames).messages
    found = {}
    for name, options in (("lava-cpu", {}), ("lava-cpu, fused", {"processes": "fused"})):
        got = port.run(lowered, frames, on="lava-cpu", **options).messages
        found[name] = equal("reference", f"{way} on {name}", lowered, ideal, got)
    return found


def uniform(graph: Graph) -> Graph:
    """The network with one threshold and one pair of decays per population, as a chip has them."""
    fields = ("threshold", "current_decay", "voltage_decay")
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Lif):
            values = {name: getattr(node, name) for name in fields}
            mixed = {name: v for name, v in values.items() if v.min() != v.max()}
            middle = {name: np.sort(v, axis=None)[v.size // 2][None] for name, v in mixed.items()}
            node = replace(node, **middle) if middle else node
        nodes.append(node)
    if nodes == list(graph.nodes):
        return graph
    return Graph(nodes, graph.steps, graph.interval)


def as_for_chip(lowered: Graph, frames: np.ndarray) -> dict[str, dict[str, int]]:
    """Stock Lava processes of a network as it was lowered for a chip.

    Raises:
        DivergenceError: they differ, or a population is no process of Lava's.
    """
    ideal = REFERENCE.run(lowered, frames).messages
    got = port.run(lowered, frames, on="lava-cpu")
    own = {name for name in got.provenance["built"] if name.startswith("neuroport")} - NO_NEURONS
    if own:
        raise DivergenceError(f"the network holds neurons that are not Lava's: {sorted(own)}")
    return {ON_LAVA_FOR_CHIP: equal("reference", ON_LAVA_FOR_CHIP, lowered, ideal, got.messages)}


def stock(lowered: Graph, frames: np.ndarray, lava: bool) -> dict[str, dict[str, int]]:
    """The chain of layers that a stock file holds, interpreted and, on Lava, run by NetX."""
    ideal = REFERENCE.run(lowered, frames).messages
    layers = chain(lowered)
    read = chain_messages(layers, lowered, frames)
    found = {"stock layers, interpreted": equal("reference", "the chain", lowered, ideal, read)}
    if lava:
        got = netx_messages(layers, lowered, frames)
        found["stock file, NetX"] = equal("reference", "NetX", lowered, ideal, got)
    return found


def equal(one: str, other: str, graph: Graph, want: Messages, got: Messages) -> dict[str, int]:
    """Compare the populations of ``graph``; counts positions by kind, all equal.

    Raises:
        DivergenceError: with the first population that differs.
    """
    positions: Counter[str] = Counter()
    for node in graph.populations:
        name = node.name
        if name not in got:
            raise DivergenceError(f"{other} lacks {name}, which {one} has")
        if want[name].shape != got[name].shape:
            shapes = f"{want[name].shape} and {got[name].shape}"
            raise DivergenceError(f"{name} is {shapes} in {one} and {other}")
        differ = want[name] != got[name]
        if differ.any():
            first = tuple(int(i) for i in np.argwhere(differ)[0])
            raise DivergenceError(
                f"{other} differs from {one} in {name}, first at (step, sample, ...) {first}: "
                f"{int(got[name][first])} instead of {int(want[name][first])}; "
                f"{int(differ.sum())} of {differ.size} positions differ"
            )
        positions[node.kind] += differ.size
    return dict(positions)


def reason(message: str) -> str:
    """Why a lowering was refused, without the names and numbers of one network."""
    rules: Iterable[str] = re.findall(r"\[(\w+)\]", message)
    if rules:
        return f"rules: {', '.join(dict.fromkeys(rules))}"
    text = message.split(": ", 1)[-1].split(";")[0]
    text = re.sub(r", here meet.*", "", text)
    return re.sub(r"-?\d+(\.\.-?\d+)?(, some odd)?", "#", text)
