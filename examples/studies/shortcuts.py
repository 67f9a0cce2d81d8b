"""What membrane and spike shortcuts cost on a chip: the trained networks, lowered for a board.

Cores and times are estimates by :mod:`neuroport.targets` and :mod:`neuroport.analysis`; messages
and operations are counted on the held-out samples in ``models/``. **Nothing is run on hardware.**
Nothing is trained here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import neuroport as port
from benchmarks.chips import BOARD, ROOT, SAMPLES, measured, quantized
from neuroport.analysis.operations import Sent, messages
from neuroport.files import read_json
from neuroport.graph.graph import Graph
from neuroport.graph.node import Relay
from neuroport.targets.message_traffic import count
from neuroport.targets.population_demands import CONSTANT
from neuroport.targets.resources import resources
from neuroport.targets.target import load_target

# row -> folder in models/. The second SEW is one by another name (neuroport/nets/danet.py), the
# second MS one whose projections read spikes
MODELS = {
    "ms": "ms_resnet20_mnist",
    "da-membrane-stage": "danet20_membrane_stage_mnist",
    "sew": "sew_resnet20_mnist",
    "sew-again": "danet20_spike_stage_mnist",
    "ds3": "ds_resnet20_saccades",
}
DEPTH = 20
SETTINGS: dict[str, Any] = {"board": BOARD, "samples": SAMPLES}
ESTIMATES = ("arithmetic_45nm_nj", "arithmetic_45nm_without_shortcuts_nj", "loihi1_nj")


def between_cores(graph: Graph, sent: Sent) -> dict[str, float]:
    """Messages between cores per sample, by what the sender sends: spikes or graded messages."""
    found = resources(graph, load_target(BOARD))
    constant = {placed.layer.name for placed in found.placed if placed.layer.kind == CONSTANT}
    traffic = count(graph, found, sent)
    total = {"spikes": 0, "graded": 0}
    for flow in traffic.flows:
        name = traffic.tiles[flow.source].population
        sort = "spikes" if name in constant or not graph.facts(name).graded else "graded"
        total[sort] += flow.messages * len(set(flow.targets) - {flow.source})
    return {sort: number / traffic.samples for sort, number in total.items()}


def shortcut_run(network: str) -> dict[str, Any]:
    """The entry of the JSON; messages, operations and energies are means per sample."""
    folder = ROOT / "models" / MODELS[network]
    results = read_json(folder / "results.json")
    tested = results["engines"]["reference"]
    frames = np.load(folder / "frames.npy")[:, :SAMPLES]
    lowered = port.lower(quantized(folder), BOARD)
    trace = port.run(lowered, frames, on="fast")
    board = measured(lowered, trace, frames)
    energy = port.energy(lowered, trace, frames, target=BOARD)
    relays = [node.name for node in lowered if isinstance(node, Relay)]
    between = between_cores(lowered, messages(lowered, trace, frames))
    work, steps = energy.work, lowered.steps
    return {
        "name": f"{network}-{DEPTH}",
        "network": network,
        "depth": DEPTH,
        "seed": results["recipe"]["seed"],
        "model": folder.name,
        "dataset": results["recipe"]["data"]["dataset"],
        "steps": steps,
        "lowered": lowered.hash,
        "real_accuracy": float(results["float"]),
        "accuracy": 100 * tested["correct"] / tested["samples"],
        "cores": float(board["cores"]),
        "chips": float(board["chips"]),
        "neurons": float(board["neurons"]),
        "relay_neurons": float(sum(np.prod(lowered.facts(name).shape) for name in relays)),
        "spikes": round(work.spikes / steps, 1),
        "graded": round(work.graded / steps, 1),
        "spikes_between": round(between["spikes"] / steps, 1),
        "graded_between": round(between["graded"] / steps, 1),
        "operations": round(work.chip_operations / steps, 1),
        "slowest_step_us": float(board["slowest_step_us"]),
        "latency_us": float(board["latency_us"]),
        **{name: round(energy.estimates[name].value or 0.0, 1) for name in ESTIMATES},
    }
