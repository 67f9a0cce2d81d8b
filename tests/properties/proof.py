"""All engines on one random network, every population, no tolerance.

The interpreter says what a network means. The reference and the fast engine must say the same in
ideal time; so must the network after every lowering that applies, in ideal and in chip time; and
so must real Lava processes, for one lowering, where asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import neuroport as port
from neuroport.backends.fast import Fast
from neuroport.backends.reference import Reference
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.graph.node import Lif
from neuroport.lowering.chain import chain
from tests.properties.features import features
from tests.properties.interpreter import interpret, interpret_chip
from tests.properties.networks import Case
from tests.properties.stock import chain_messages

Messages = Mapping[str, np.ndarray]
REFERENCE, FAST = Reference(), Fast()
WAYS = (
    ("relay", "relays"),
    ("relay", "delays"),
    ("unroll", "relays"),
    ("unroll", "delays"),
    ("stock", "relays"),
)


class DivergenceError(AssertionError):
    """Two engines differ; says which, where, and on which graph."""

    def __init__(self, message: str, graph: Graph) -> None:
        super().__init__(message)
        self.graph = graph


@dataclass
class Outcome:
    """What was compared on a network, and what it had."""

    graph: str
    nodes: int
    features: dict[str, int]
    populations: int
    silent: int
    always: int
    compared: dict[str, int] = field(default_factory=dict)  # engine or way -> positions
    refused: dict[str, str] = field(default_factory=dict)  # way -> reason
    lava: str = ""  # the way that Lava ran
    seconds: dict[str, float] = field(default_factory=dict)


def prove(case: Case, number: int = 0, lava: bool = False) -> Outcome:
    """Run ``case`` on every engine; ``number`` chooses the lowering for Lava, in rotation.

    Raises:
        DivergenceError: with the first pair of engines that differ.
    """
    graph, frames = case.graph, case.frames
    want, seen = interpret(graph, frames)
    rates = [want[node.name].mean() for node in graph if isinstance(node, Lif)]
    outcome = Outcome(
        graph=graph.hash,
        nodes=len(graph),
        features=features(case, seen),
        populations=len(rates),
        silent=sum(rate == 0 for rate in rates),
        always=sum(rate == 1 for rate in rates),
    )
    compared = outcome.compared
    names = [node.name for node in graph.populations]
    compared["reference"] = equal(
        "interpreter", "reference", graph, want, REFERENCE.run(graph, frames).messages, names
    )
    compared["fast"] = equal(
        "interpreter", "fast", graph, want, FAST.run(graph, frames).messages, names
    )
    ways: list[tuple[str, Graph]] = []
    for carrier, align in WAYS:
        way = f"{carrier}/{align}"
        try:
            lowered = port.lower(graph, carrier=carrier, align=align)
        except IllegalError as error:
            outcome.refused[way] = reason(error.message)
        else:
            compared[way] = carried(way, graph, lowered, frames, want)
            if carrier == "stock":
                every = [node.name for node in lowered.populations]
                layers = chain_messages(chain(lowered), lowered, frames)
                ideal = REFERENCE.run(lowered, frames).messages
                compared["stock layers"] = equal(
                    "reference", "NetX's chain of layers", lowered, ideal, layers, every
                )
            ways.append((way, lowered))
    if ways:
        way, lowered = ways[number % len(ways)]
        again = interpret_chip(lowered, frames)
        every = [node.name for node in lowered.populations]
        chip = REFERENCE.run(lowered, frames, time_model="chip").messages
        label = f"{way} interpreted in chip time"
        compared["interpreter, chip time"] = equal(
            "reference in chip time", label, lowered, chip, again, every
        )
        if lava:
            trace = port.run(lowered, frames, on="lava-cpu")
            compared["lava-cpu"] = equal(
                "reference", f"{way} on Lava", lowered, chip, trace.messages, every
            )
            outcome.lava = way
    return outcome


def carried(way: str, graph: Graph, lowered: Graph, frames: np.ndarray, want: Messages) -> int:
    """A lowered graph means what ``graph`` does, in ideal and, in both engines, in chip time."""
    names = [node.name for node in graph.populations]
    every = [node.name for node in lowered.populations]
    ideal = REFERENCE.run(lowered, frames).messages
    count = equal("interpreter", f"{way} in ideal time", lowered, want, ideal, names)
    for engine in (REFERENCE, FAST):
        chip = engine.run(lowered, frames, time_model="chip").messages
        label = f"{way} on {engine.name} in chip time"
        count += equal("ideal time", label, lowered, ideal, chip, every)
    return count


def equal(
    one: str, other: str, graph: Graph, want: Messages, got: Messages, names: list[str]
) -> int:
    """Compare populations; returns the number of positions, all equal."""
    positions = 0
    for name in names:
        if name not in got:
            raise DivergenceError(f"{other} lacks {name}, which {one} has", graph)
        if want[name].shape != got[name].shape:
            shapes = f"{want[name].shape} and {got[name].shape}"
            raise DivergenceError(f"{name} is {shapes} in {one} and {other}", graph)
        differ = want[name] != got[name]
        if differ.any():
            first = tuple(int(i) for i in np.argwhere(differ)[0])
            raise DivergenceError(
                f"{other} differs from {one} in {name}, first at (step, sample, ...) {first}: "
                f"{int(got[name][first])} instead of {int(want[name][first])}, "
                f"{int(differ.sum())} of {differ.size} positions",
                graph,
            )
        positions += differ.size
    return positions


def reason(message: str) -> str:
    """Why a lowering was refused, without the names and numbers of one network."""
    rules = re.findall(r"\[(\w+)\]", message)
    if rules:
        return f"rules: {', '.join(dict.fromkeys(rules))}"
    text = message.split(": ", 1)[-1].split(";")[0]
    text = re.sub(r", here meet.*", "", text)
    return re.sub(r"-?\d+(\.\.-?\d+)?", "#", text)


def as_json(outcome: Outcome) -> dict[str, Any]:
    return dict(vars(outcome))
