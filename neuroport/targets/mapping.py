"""Map a network to the chips of a target, with few messages between chips in a real run.

Messages between chips are counted in two ways:

* ``messages``: once per destination *chip*. This number is minimized. Intel's technology brief
describes that Loihi 2 can distribute a message among the cores of the destination chip (recalled,
not read again for this).
* ``copies``: once per destination *core* on another chip, as in a network with unicast only; Loihi
1 is described so.

The compiler decides where a core lies on a chip, and a chip on a board, so hops are unknown.
Nothing was run on hardware.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from neuroport.arguments import as_array, is_graph, is_trace, takes
from neuroport.errors import IllegalError
from neuroport.graph.graph import Graph
from neuroport.runs.trace import Trace
from neuroport.targets.core_tiles import Tile
from neuroport.targets.message_traffic import Flow, Traffic, measure
from neuroport.targets.partition import crossings, naive, partition
from neuroport.targets.population_demands import population_demands
from neuroport.targets.remedies import changes, shortfall
from neuroport.targets.resources import resources
from neuroport.targets.target import Target, load_chip, require_chip

CAVEAT = (
    "hops are unknown: which cores and chips are neighbours is not decided here; "
    "not run on hardware"
)
Link: TypeAlias = tuple[int, int]  # from chip, to chip


@dataclass(frozen=True, slots=True)
class Mapping:
    """Tiles on chips, and the resulting messages: means per sample of a run.

    Attributes:
        target: name of the target.
        cores: number of cores of a chip.
        samples: number of samples that were counted.
        tiles: one tile per used core, in the order of the network.
        chips: the chip of each tile.
        links: (from chip, to chip) -> messages, one per destination chip; links without messages
        are omitted.
        copies: messages between chips, one per destination core.
        between_cores: messages between cores, one per destination core, on one chip or not.
        sent: messages of each core to other cores, one per destination core.
        received: messages to each core from other cores, without those of the host.
        host: chip -> messages of the frames to it, one per chip; None without frames.
        naive: messages between chips if chips are filled in the order of the network.
    """

    target: str
    cores: int
    samples: int
    tiles: tuple[Tile, ...]
    chips: tuple[int, ...]
    links: dict[Link, float]
    copies: float
    between_cores: float
    sent: tuple[float, ...]
    received: tuple[float, ...]
    host: dict[int, float] | None
    naive: float

    @property
    def messages(self) -> float:
        """Messages between chips, one per destination chip."""
        return sum(self.links.values())

    @property
    def busiest_links(self) -> list[tuple[Link, float]]:
        """All links that carry messages, busiest first."""
        return sorted(self.links.items(), key=lambda item: -item[1])

    @property
    def summary(self) -> str:
        """One line: cores, chips, messages between chips, also for chips filled in order."""
        share = f" ({self.messages / self.naive:.0%})" if self.naive else ""
        return (
            f"{len(self.tiles):,} cores on {self.used} chips of {self.cores}: {self.messages:,.1f} "
            f"messages between chips per sample; {self.naive:,.1f} if filled in order{share}"
        )

    @property
    def used(self) -> int:
        """Chips that hold a tile."""
        return len(set(self.chips))

    def lines(self) -> Iterator[str]:
        """Return lines for a terminal: totals, links, the host, the contents of each chip."""
        yield self.summary
        yield (
            f"{self.copies:,.1f} if every destination core needs its own; "
            f"{self.between_cores:,.1f} between cores in all; the busiest cores send "
            f"{max(self.sent):,.1f} and receive {max(self.received):,.1f}"
        )
        for (here, there), count in self.busiest_links:
            yield f"chip {here} -> chip {there}: {count:,.1f}"
        if self.host is None:
            yield "host: not counted, for want of the frames"
        for chip, count in (self.host or {}).items():
            yield f"host -> chip {chip}: {count:,.1f}"
        whole = Counter(tile.population for tile in self.tiles)
        for chip in range(self.used):
            mine = Counter(
                t.population for t, on in zip(self.tiles, self.chips, strict=True) if on == chip
            )
            held = (
                f"{n}{'' if k == whole[n] else f' ({k} of {whole[n]})'}" for n, k in mine.items()
            )
            yield f"chip {chip}, {mine.total()} cores: {', '.join(held)}"
        yield CAVEAT

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "target": self.target,
            "chips": self.used,
            "cores": self.cores,
            "samples": self.samples,
            "messages": self.messages,
            "naive": self.naive,
            "copies": self.copies,
            "between_cores": self.between_cores,
            "busiest_core": {"sent": max(self.sent), "received": max(self.received)},
            "links": [
                {"from": here, "to": there, "messages": count}
                for (here, there), count in self.links.items()
            ],
            "host": None if self.host is None else list(map(list, self.host.items())),
            "tiles": [
                {**asdict(tile), "chip": chip, "sent": sent, "received": received}
                for tile, chip, sent, received in zip(
                    self.tiles, self.chips, self.sent, self.received, strict=True
                )
            ],
            "caveat": CAVEAT,
        }


@takes(graph=is_graph, trace=is_trace, frames=as_array)
def map_network(
    graph: Graph,
    target: Target | str | Path,
    trace: Trace,
    frames: npt.NDArray[Any] | None = None,
) -> Mapping:
    """Place ``graph`` on the fewest chips of ``target``, with few messages between them.

    The messages are those of ``trace``, counted exactly. The result is never worse than filling the
    chips in the order of the network. It need not be the optimum.

    Args:
        target: a chip or board, by name or as a TOML file.
        trace: trace of a run of this graph, with every population.
        frames: frames (T, N, *shape) of that run, to count messages from the host.

    Raises:
        IllegalError: the network does not fit the target; says by how much, and what would help.
        CompareError: the trace belongs to another network or other frames, or lacks a population.
        FramesError: the frames do not fit the graph.
        TargetError: no such target.
        BackendError: Mt-KaHyPar, the partitioner, is not installed.
    """
    board = require_chip(target) if isinstance(target, Target) else load_chip(target)
    shapes = population_demands(graph)
    found = resources(shapes, board)
    if not found.fits:
        cures = "; or ".join(str(change) for change in changes(shapes, found))
        raise IllegalError(
            f"{'; '.join(shortfall(found))}; "
            + (f"what would make it fit: {cures}" if cures else "no single change makes it fit")
        )
    traffic = measure(graph, found, trace, frames)
    chips = partition(len(traffic.tiles), traffic.flows, found.chips, board["cores"])
    return mapping_of(traffic, chips, board)


def mapping_of(traffic: Traffic, chips: Sequence[int], target: Target) -> Mapping:
    """Return all counts for tiles on given chips."""
    sent, received = [0] * len(chips), [0] * len(chips)
    copies = 0
    for flow in traffic.flows:
        for core in flow.targets:
            if core != flow.source:
                sent[flow.source] += flow.messages
                received[core] += flow.messages
                copies += flow.messages * (chips[core] != chips[flow.source])
    links: Counter[Link] = Counter()
    for flow in traffic.flows:
        here = chips[flow.source]
        for there in _reached(flow, chips) - {here}:
            links[here, there] += flow.messages
    host: Counter[int] = Counter()
    for flow in traffic.frames or ():
        for chip in _reached(flow, chips):
            host[chip] += flow.messages
    each = traffic.samples
    in_order = crossings(traffic.flows, naive(len(chips), target["cores"]))
    return Mapping(
        target=target.name,
        cores=target["cores"],
        samples=each,
        tiles=traffic.tiles,
        chips=tuple(chips),
        links={link: count / each for link, count in sorted(links.items())},
        copies=copies / each,
        between_cores=sum(sent) / each,
        sent=tuple(count / each for count in sent),
        received=tuple(count / each for count in received),
        host=None
        if traffic.frames is None
        else {chip: count / each for chip, count in sorted(host.items())},
        naive=in_order / each,
    )


def _reached(flow: Flow, chips: Sequence[int]) -> set[int]:
    return {chips[core] for core in flow.targets}
