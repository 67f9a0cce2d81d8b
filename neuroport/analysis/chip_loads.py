"""The chip resources of each population, and the share of relays.

Cores follow from the fitted formulas; messages and operations are counted for a run
(:mod:`neuroport.analysis.core_work`). A population's *slowest step* is the lower bound of the time
of its busiest core's busiest step. Nothing was run on hardware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neuroport.analysis.core_work import TIMES, least_us, operations
from neuroport.analysis.operations import Sent
from neuroport.graph.graph import Graph
from neuroport.runs.trace import is_readout
from neuroport.targets.lowering import LoweringOption
from neuroport.targets.message_traffic import count
from neuroport.targets.population_demands import CONSTANT
from neuroport.targets.resources import Placed, resources
from neuroport.targets.target import Target

RELAYS, NEURONS = "relays", "neurons"


@dataclass(frozen=True, slots=True)
class Load:
    """One population; messages and the sending share are means over a run.

    Attributes:
        kind: ``relay``, ``lif``, ``readout``, ...
        cores, neurons: numbers of its cores and neurons.
        messages: messages per sample from its cores to others, once per destination core.
        sending: share of its neurons that send in a step, 0..1.
        most: operations of its busiest core in its busiest step.
        step_us: lower bound of the time of that step; 0 if the target has no times.
    """

    name: str
    kind: str
    cores: int
    neurons: int
    messages: float
    sending: float
    most: int
    step_us: float

    @property
    def is_relay(self) -> bool:
        """Whether it only forwards messages of other populations, or sends a constant."""
        return self.kind in ("relay", CONSTANT)


@dataclass(frozen=True, slots=True)
class Share:
    """Sums over all relays, or over all other populations; ``sending`` is the mean of a neuron."""

    cores: int
    neurons: int
    messages: float
    sending: float


@dataclass(frozen=True, slots=True)
class Loads:
    """All populations on a target, in the order of the network."""

    target: str
    populations: tuple[Load, ...]

    def share(self, relays: bool) -> Share:
        """Return the sums over relays, or over all others."""
        mine = [load for load in self.populations if load.is_relay == relays]
        neurons = sum(load.neurons for load in mine)
        senders = [load for load in mine if not is_readout(load.kind)]
        number = sum(load.neurons for load in senders)
        active = sum(load.sending * load.neurons for load in senders)
        return Share(
            sum(load.cores for load in mine),
            neurons,
            sum(load.messages for load in mine),
            active / number if number else 0.0,
        )

    @property
    def slowest(self) -> Load:
        """The population whose busiest core has the longest step."""
        return max(self.populations, key=lambda load: (load.step_us, load.most))

    def lines(self) -> Iterator[str]:
        """Describe in words the share of the relays, and the slowest core."""
        relays, neurons = self.share(relays=True), self.share(relays=False)
        cores = relays.cores + neurons.cores
        messages = relays.messages + neurons.messages
        if relays.cores:
            yield (
                f"Relays take {relays.cores:,} of {cores:,} cores and send "
                f"{relays.messages:,.0f} of {messages:,.0f} messages between cores per sample "
                f"({relays.messages / messages if messages else 0:.0%}): at a step "
                f"{relays.sending:.0%} of their neurons send, of the others {neurons.sending:.0%}"
            )
        else:
            yield (
                f"No relays: {cores:,} cores send {messages:,.0f} messages to others per sample, "
                f"at a step {neurons.sending:.0%} of the neurons"
            )
        slow = self.slowest
        bound = f", at least {slow.step_us:,.1f} us" if slow.step_us else ""
        yield (
            f"The slowest core holds a part of {slow.name}: {slow.most:,} operations in its "
            f"busiest step{bound}; all cores wait for it"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **asdict(self),
            RELAYS: asdict(self.share(relays=True)),
            NEURONS: asdict(self.share(relays=False)),
            "slowest": self.slowest.name,
        }


def loads(graph: Graph, sent: Sent, target: Target) -> Loads:
    """Count the resources of every population on ``target``.

    Args:
        graph: the graph, lowered for the target.
        sent: messages of the frames and of every population,
            :func:`neuroport.analysis.operations.messages`.
    """
    found = resources(graph, target)
    samples = next(iter(sent.values())).shape[1]
    traffic, work = count(graph, found, sent), operations(graph, found, sent)
    messages: Counter[str] = Counter()
    for flow in traffic.flows:
        name = traffic.tiles[flow.source].population
        messages[name] += flow.messages * len(set(flow.targets) - {flow.source})
    timed = any(target.cost(name) is not None for name in TIMES)

    def load(placed: Placed) -> Load:
        layer = placed.layer
        most = work[layer.name].max() if layer.name in work else 0.0
        fullest = float(np.prod(placed.tiling.tile))
        constant = layer.kind == CONSTANT
        active = sent[layer.name] if layer.name in sent else np.zeros(1)
        return Load(
            layer.name,
            layer.kind,
            placed.cores,
            layer.neurons,
            messages[layer.name] / samples,
            1.0 if constant else float(np.count_nonzero(active) / active.size),
            int(most),
            round(least_us(target, most, fullest), 3) if timed and not constant else 0.0,
        )

    return Loads(target.name, tuple(load(placed) for placed in found.placed))


@dataclass(frozen=True, slots=True)
class Way:
    """The resources with one carrier of the shortcuts; ``refusal`` if the chip forbids it.

    ``saves`` is the saved share of the network's current cores; negative if it needs more.
    """

    carrier: str
    align: str
    cores: int
    chips: int
    neurons: int
    in_relays: int
    saves: float
    refusal: str


def ways(options: Sequence[LoweringOption], cores: int) -> tuple[Way, ...]:
    """List the options that ``lower`` compared, fewest cores first; savings relative to ``cores``.

    Options that could not be lowered are omitted.
    """
    found = []
    for option in options:
        if option.resources is None:
            continue
        room = option.resources
        relays = [p for p in room.placed if p.layer.kind in ("relay", CONSTANT)]
        found.append(
            Way(
                option.carrier,
                option.align,
                room.cores,
                room.chips,
                room.neurons,
                sum(p.layer.neurons for p in relays),
                1 - room.cores / cores,
                option.refusal or ("" if room.fits else "more than there is room for"),
            )
        )
    return tuple(sorted(found, key=lambda way: (bool(way.refusal), way.cores)))
