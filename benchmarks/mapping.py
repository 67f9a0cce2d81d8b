"""``python -m benchmarks.mapping``: messages between chips, networks mapped and in order.

Networks of ``models`` on their 20 digits (real spikes of the ``fast`` engine), on boards of Loihi 2
chips with so few cores that each takes four chips or more. Cores are estimates by the fitted
formulas; nothing is run on hardware. Writes ``mapping.json`` and ``mapping.md`` in docs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import neuroport as port
from neuroport.files import write_atomic, write_json
from neuroport.targets.mapping import Mapping, mapping_of
from neuroport.targets.message_traffic import Traffic
from neuroport.targets.message_traffic import measure as count
from neuroport.targets.partition import naive, partition
from neuroport.targets.resources import resources
from neuroport.targets.target import Fact, Target, load_target

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ("ms_resnet8_mnist", "ms_resnet20_mnist", "danet20_spike_stage_mnist")
SIZES = (8, 0)  # cores of a chip; 0: as many as make it four chips
CHIPS = 64
INTRODUCTION = """\
`port.map_network(graph, target, trace)`, or `neuroport check NET --target BOARD --map TRACE`,
assigns the cores of a network to chips so that few messages pass between chips. It uses the
smallest number of chips that holds the network. Messages are counted exactly, neuron by neuron and
weight by weight, on the run of the trace. Cores are estimates, and **nothing was run on
hardware**.

* A message counts **once per destination chip**, because Intel's technology brief describes that
  Loihi 2 distributes it among the cores of that chip (recalled, not read again). *Copies* counts
  once per destination *core*, as Loihi 1 sends.
* Mt-KaHyPar minimizes this number as its connectivity metric. neuroport repairs its partitions if
  a chip would hold too much, and refines them by moves and swaps. It also fills chips in the order
  of the network, and takes the best result, so the mapping is never worse than that order. Only
  for tiny networks do tests prove that the result is optimal.
* Hops are unknown, because the compiler and the board decide which cores and chips are neighbours.
  Frames from the host are counted separately and not minimized.

The table shows trained networks on 20 held-out digits, with real spikes of the `fast` engine.
Chips of Loihi 2 were given so few cores that four chips or more are needed. Messages are per digit;
ratios are mapped / in order. *Unseen* means that the first ten digits determined the mapping and
the other ten were counted. `make mapping` makes this page from [mapping.json](mapping.json).
"""


def board(cores: int) -> Target:
    """Loihi 2 chips of ``cores`` cores, enough of them."""
    chip = load_target("loihi2")
    made = {
        key: Fact(value, "made up, to split small networks", "derived")
        for key, value in (("chips", CHIPS), ("cores", cores))
    }
    return replace(chip, name=f"chips of {cores} cores", values={**chip.values, **made})


def measure(name: str) -> list[dict[str, Any]]:
    """A row per size of chip: mapped and in order, and the same for digits that were not seen."""
    folder = ROOT / "models" / name
    graph, frames = port.read(folder / "network.net"), np.load(folder / "frames.npy")
    found = resources(graph, load_target("loihi2"))
    half = frames.shape[1] // 2
    all_of, seen, unseen = (
        count(graph, found, port.run(graph, part, on="fast"), part)
        for part in (frames, frames[:, :half], frames[:, half:])
    )
    rows = []
    for cores in dict.fromkeys(size or -(-found.cores // 4) for size in SIZES):
        target = board(cores)
        mapped, in_order = _both(all_of, all_of, target)
        busiest, worst = (each.busiest_links[0][1] for each in (mapped, in_order))
        rows.append(
            {
                "cores_of_a_chip": cores,
                "cores": found.cores,
                "chips": mapped.used,
                "samples": mapped.samples,
                "messages": round(mapped.messages, 2),
                "in_order": round(in_order.messages, 2),
                "ratio": _ratio(mapped.messages, in_order.messages),
                "ratio_unseen": _ratio(*(each.messages for each in _both(seen, unseen, target))),
                "ratio_copies": _ratio(mapped.copies, in_order.copies),
                "ratio_busiest_link": _ratio(busiest, worst),
                "between_cores": round(mapped.between_cores, 2),
                "from_host": round(sum((mapped.host or {}).values()), 2),
            }
        )
    return rows


def _both(placing: Traffic, counted: Traffic, target: Target) -> tuple[Mapping, Mapping]:
    """What is counted on chips that were mapped by what was seen, and on chips filled in order."""
    size = len(placing.tiles)
    in_order = naive(size, target["cores"]).tolist()
    chips = partition(size, placing.flows, len(set(in_order)), target["cores"])
    return mapping_of(counted, chips, target), mapping_of(counted, in_order, target)


def _ratio(mapped: float, in_order: float) -> float:
    return round(mapped / in_order, 3)


def table(results: dict[str, Any]) -> str:
    lines = [
        "# Messages between chips",
        "",
        *INTRODUCTION.splitlines(),
        "",
        "| network | cores | of a chip | chips | in order | mapped | ratio | unseen "
        "| copies | busiest link |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, rows in results["networks"].items():
        lines += [
            f"| {name} | {row['cores']} | {row['cores_of_a_chip']} | {row['chips']} "
            f"| {row['in_order']:,.0f} | {row['messages']:,.0f} | **{row['ratio']:.2f}** "
            f"| {row['ratio_unseen']:.2f} | {row['ratio_copies']:.2f} "
            f"| {row['ratio_busiest_link']:.2f} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    options = parser.parse_args()
    found = {}
    for name in NETWORKS:
        found[name] = measure(name)
        print(name, found[name], flush=True)
    results = {"target": "loihi2", "networks": found}
    write_json(options.out / "mapping.json", results)
    write_atomic(options.out / "mapping.md", table(results).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
