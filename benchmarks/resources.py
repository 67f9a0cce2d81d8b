"""``python -m benchmarks.resources``: cores of each carrier of shortcuts on Loihi 2.

Networks in the shapes of the published families with made-up weights of 8 bits (few are not zero,
so that the widths of the deepest are provable; zeros are stored all the same), T = 4. Every row is
an estimate by the fitted formulas; nothing is run on hardware. The chip is Loihi 2 on which neurons
of one's own microcode and delays in convolutions are allowed, so that every way has its cores; what
Loihi 2 as it is refuses is told beside it. Writes ``resources.json`` and ``resources.md`` in docs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from neuroport.files import write_atomic, write_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Conv, Lif
from neuroport.targets.lowering import best, options
from neuroport.targets.remedies import shortfall
from neuroport.targets.resources import resources
from neuroport.targets.rules import refusals
from neuroport.targets.target import Fact, Target, load_target
from tests.helpers.shapes import STREAM_BITS, Shape, danet, ds_resnet, ms_resnet

ROOT = Path(__file__).resolve().parents[1]
STEPS = 4
WIDTHS = (16, 32, 64)
CHIP = load_target("loihi2")


DEEP = "MS-ResNet-482, 28x28"
LEFT_OUT = (
    "not lowered for this table: 10,687 nodes by delays, 49,563 by relays, and at the end of a "
    "stage 80 synapses meet at a dendrite, 92,160 words for one channel where a core has 16,000"
)


def free(chip: Target) -> Target:
    """``chip`` with neurons of one's own and convolutions that delay."""
    able = Fact(True, "assumed, to compare the carriers", "derived")
    return replace(chip, values={**chip.values, "custom_neurons": able, "convolution_delay": able})


class Still(Shape):
    """A network whose thresholds are given, not tuned on frames; sizes are kept as it grows."""

    def __init__(self, *frame: int) -> None:
        super().__init__(np.zeros((STEPS, 1, *frame), np.int64))
        self.sizes: dict[str, tuple[int, ...]] = {"frames": frame}

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.sizes:  # a relay, which is as large as what it sums
            self.sizes[name] = self.sizes[self.nodes[-1].inputs[0]]
        return self.sizes[name]

    def conv(
        self, name: str, inputs: tuple[str, ...], channels: int, kernel: int = 3, stride: int = 1
    ) -> str:
        taken, *size = self.shape(inputs[0])
        weight = np.zeros((channels, taken, kernel, kernel), np.int64)
        for row in weight:
            row.flat[self.rng.choice(row.size, 2, replace=False)] = 254, -252
        pad = kernel // 2
        self.nodes.append(Conv(name, inputs, weight, stride=(stride, stride), padding=(pad, pad)))
        height, width = ((n + 2 * pad - kernel) // stride + 1 for n in size)
        self.sizes[name] = (channels, height, width)
        return name

    def lif(self, name: str, inputs: tuple[str, ...], rate: float = 0.0) -> str:
        self.nodes.append(Lif(name, inputs, 254, 4096, 3072))
        self.sizes[name] = self.sizes[inputs[0]]
        return name


def ms_imagenet() -> Graph:
    """MS-ResNet-18 for frames of 224x224: every stage starts with stride 2 and a projection."""
    from neuroport.graph.node import Relay

    net = Still(3, 224, 224)
    stream = [net.conv("stem", ("frames",), 64, 7, 2)]
    for stage, width in enumerate((64, 128, 256, 512)):
        for block in range(2):
            here = f"s{stage}b{block}"
            stride = 1 if block else 2
            inner = net.conv(
                f"{here}.conv1", (net.lif(f"{here}.lif1", tuple(stream)),), width, 3, stride
            )
            outer = net.conv(f"{here}.conv2", (net.lif(f"{here}.lif2", (inner,)),), width)
            if stride == 2:
                facts = Graph([*net.nodes, Relay("probe", tuple(stream))], STEPS).facts("probe")
                shift = max(
                    0, int(max(facts.high.max(), -facts.low.min())).bit_length() - STREAM_BITS
                )
                net.nodes.append(Relay(f"{here}.stream", tuple(stream), shift))
                stream = [net.conv(f"{here}.projection", (f"{here}.stream",), width, 1, 2)]
            stream.append(outer)
    return net.classes((net.lif("last", tuple(stream)),))


NETWORKS: dict[str, Callable[[], Graph]] = {
    "MS-ResNet-20, 28x28": lambda: ms_resnet(Still(1, 28, 28), 3, WIDTHS),
    "DS-ResNet-20, K = 3, 28x28": lambda: ds_resnet(Still(1, 28, 28), 3, WIDTHS, 3),
    **{
        f"DANet-20, {domain}, {reach}, 28x28": (
            lambda domain=domain, reach=reach: danet(Still(1, 28, 28), 6, WIDTHS, domain, reach)
        )
        for domain in ("spike", "membrane")
        for reach in ("stage", "network")
    },
    "MS-ResNet-18, 224x224": ms_imagenet,
    DEEP: lambda: ms_resnet(Still(1, 28, 28), 80, WIDTHS),
}


def measure(graph: Graph, carrier: str = "all") -> dict[str, Any]:
    """A row per carrier; the cheapest that the chip permits, and what the chip as it is refuses."""
    chip = free(CHIP)
    ways = options(graph, chip, carrier=carrier)
    rows = []
    for way in ways:
        row: dict[str, Any] = {"carrier": way.carrier, "align": way.align}
        found = way.resources
        if found is None or way.lowered is None:
            rows.append({**row, "refused": way.refusal})
            continue
        as_it_is = refusals(way.lowered, CHIP)
        rows.append(
            {
                **row,
                "cores": found.cores,
                "chips": found.chips,
                "neurons": found.neurons,
                "relay_neurons": found.relays[0],
                "relay_cores": found.relays[1],
                "units": found.units,
                "binding": found.binding,
                "unfit": len(found.impossible),
                "why_unfit": shortfall(found)[0] if found.impossible else "",
                "refused_as_it_is": sorted({finding.rule for finding in as_it_is}),
            }
        )
    cheapest = resources(best(ways), chip)
    unfit = len(cheapest.impossible)
    return {"rows": rows, "cheapest": {"cores": cheapest.cores, "unfit": unfit}}


def table(results: dict[str, Any]) -> str:
    lines = [
        "# Cores of each carrier on Loihi 2",
        "",
        "This table compares the cores that each [carrier](glossary.md#carrier) of the shortcuts",
        "needs. The numbers are estimates by formulas fitted to public tables (`neuroport targets",
        "--fit`). **Nothing was run on hardware.**",
        "",
        "* Networks have untrained 8-bit weights in the shapes of the families, T = 4.",
        "* The chip is a Loihi 2 (120 cores) whose convolutions can delay. The last column lists",
        "  the rules that are broken on the real chip.",
        "* A star marks the option that `lower --minimize cores` chooses.",
        "* The carrier `relay`, aligned by relays, may hold a sum once for several readers.",
        "* If a population does not fit into a core, each of its neurons counts as one core, and",
        "  the number of cores is a lower bound (>=).",
        "",
        "`make resources` makes this table from [resources.json](resources.json).",
    ]
    for name, found in results["networks"].items():
        lines += ["", f"## {name}", ""]
        lines += ["| carrier | aligned by | cores | chips | neurons | in relays | bound by "]
        lines[-1] += "| rules broken on the chip as it is |"
        lines += ["|---|---|--:|--:|--:|--:|---|---|"]
        refused, starred = [], False
        for row in found["rows"]:
            if "refused" in row:
                refused.append(f"`{row['carrier']}` with {row['align']}: {row['refused']}.")
                continue
            cheapest = (row["cores"], row["unfit"]) == tuple(found["cheapest"].values())
            star = " *" if not starred and cheapest else ""
            starred = starred or cheapest
            why = ", ".join(rule.replace("_", " ") for rule in row["refused_as_it_is"]) or "nothing"
            least = ">= " if row["unfit"] else ""
            if row["unfit"]:
                way = f"`{row['carrier']}` with {row['align']}"
                refused.append(f"{way}: {row['unfit']} populations do not fit; {row['why_unfit']}.")
            lines.append(
                f"| {row['carrier']}{star} | {row['align']} | {least}{row['cores']:,} "
                f"| {row['chips']:,} | {row['neurons']:,} | {row['relay_neurons']:,} "
                f"| {row['binding']} | {why} |"
            )
        lines += [line for reason in refused for line in ("", reason)]
    return "\n".join(lines) + "\n"


def page(results: dict[str, Any] | None = None) -> str:
    """``docs/resources.md``: the carriers, and what was found of trained networks.

    By ``benchmarks.chips`` of those in ``models/``, by ``benchmarks.constructions`` of others.
    """
    carriers = json.loads((ROOT / "docs" / "resources.json").read_text())
    trained = ROOT / "docs" / "chips.json"
    chips = json.loads(trained.read_text()) if trained.exists() else {}
    constructions = ROOT / "docs" / "constructions.json"
    others = json.loads(constructions.read_text()) if constructions.exists() else {}
    return (
        table(results or carriers)
        + (trained_table(chips) if chips else "")
        + (constructions_table(others) if others else "")
    )


def trained_table(chips: dict[str, Any]) -> str:
    """Cores, messages, time, and what is unproven, of the networks of ``models/``."""
    lines = [
        "",
        "# The trained networks on Kapoho Point",
        "",
        f"This table shows {len(chips)} of the [models](../models) after `lower --target",
        "kapoho-point`, stem included. **Not run on hardware**: the same formulas count cores,",
        "messages and times, on 20 samples.",
        "",
        "* The slowest step is a lower bound. It uses times that no data sheet publishes.",
        "* Relays that round are Lava's `ProdNeuron`.",
        "* *Lava* is a run on Lava's CPU simulator with Lava's own processes only. *Stand-ins* is",
        "  a run of the engine `loihi2` with stand-ins for Lava's closed modules. Both count",
        "  spikes in the process graph.",
        "",
        "`make chips` makes this table from [chips.json](chips.json).",
        "",
        "| network | rules broken | cores | chips | messages between cores per sample "
        "| slowest step, us | relays, rounding | differ on Lava | differ on stand-ins |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in chips.items():
        board = row["board"]
        lines.append(
            f"| {name} | {board['broken']} | {board['cores']:,} | {board['chips']} "
            f"| {board['between_cores']:,.0f} | {board['slowest_step_us']:,} "
            f"| {board['relays']}, {board['rounding']} "
            f"| {_told(row.get('lava'))} | {_told(row.get('standins'))} |"
        )
    lines += [
        "",
        "The next table lists what no public source shows on a chip, with the number of places in",
        "the network. `neuroport check NET --target kapoho-point` explains each of them.",
        "",
        "| network | unproven on hardware |",
        "|---|---|",
    ]
    for name, row in chips.items():
        found = row["board"]["unproven"].items()
        told = ", ".join(f"{rule.replace('_', ' ')} ({count})" for rule, count in found)
        lines.append(f"| {name} | {told or 'nothing'} |")
    return "\n".join(lines) + "\n"


def constructions_table(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Accuracy, cores, messages and relays of stems and projections that round, and that do not."""
    lines = [
        "",
        "# Constructions for the chip",
        "",
        "The published stems and projections round in relays. A [recipe](recipes.md) can choose",
        "other constructions. This table compares them on Kapoho Point, stem included, counted as",
        "above. All break 0 rules unless stated. **Not run on hardware.**",
        "",
        "* Every row starts from the weights in [models](../models). *Epochs* is the number of",
        "  further training epochs in real numbers and in integers.",
        "* The projections of these DANets already read spikes.",
        "* *Lava*, of rows without rounding relays: a run on Lava's CPU simulator with Lava's own",
        "  processes only, without any `ProdNeuron`, on 5 samples.",
        "",
        "`make constructions` makes this table from [constructions.json](constructions.json).",
        "",
        "| network | construction | epochs | test accuracy | cores | chips "
        "| messages between cores per sample | slowest step, us | relays, rounding "
        "| differ on Lava |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for network, found in rows.items():
        for construction, one in found.items():
            if "refused" in one:
                lines.append(f"| {network} | {construction} | refused: {one['refused']} |||||||")
                continue
            board, epochs = one["board"], one["epochs"]
            told = f"{one['accuracy']:.1f} %"
            broken = f", {board['broken']} rules broken" if board["broken"] else ""
            lines.append(
                f"| {network} | {construction}{broken} | {epochs['real']} + {epochs['integer']} "
                f"| {told} | {board['cores']:,} | {board['chips']} | {board['between_cores']:,.0f} "
                f"| {board['slowest_step_us']:,} | {board['relays']}, {board['rounding']} "
                f"| {_told(one.get('lava'))} |"
            )
    return "\n".join(lines) + "\n"


def _told(run: dict[str, Any] | None) -> str:
    return f"{run['differ']:,} of {run['compared']:,}" if run else "not run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--only", help="Networks whose name holds this; prints, writes nothing.")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, build in NETWORKS.items():
        if options.only and options.only not in name:
            continue
        started = time.perf_counter()
        found[name] = measure(build(), "relay" if name == DEEP else "all")
        if name == DEEP:
            for how in ("relays", "delays"):
                row = {"carrier": "unroll", "align": how, "refused": LEFT_OUT}
                found[name]["rows"].append(row)
        print(name, f"{time.perf_counter() - started:.0f} s", found[name], flush=True)
    if not options.only:
        results = {"target": CHIP.name, "networks": found}
        write_json(options.out / "resources.json", results)
        write_atomic(options.out / "resources.md", page(results).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
