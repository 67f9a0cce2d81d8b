"""``python -m benchmarks.constructions``: what constructions for a chip cost, also in accuracy.

The trained membrane networks of ``models/`` as they are published, with a coarse stem (and pixels
of 4 bits), and with the projections of MS-ResNet driven by spikes or composed with what they read.
Every row starts from the weights in ``models/`` and is trained again: one epoch in integers, and
before it two in real numbers where projections read spikes, which makes another network. As lowered
for the board, what does not round also runs on Lava's CPU simulator.

Each is lowered for Kapoho Point and counted as in ``benchmarks.chips``. **Nothing is run on
hardware.** A row is written to ``docs/constructions.json`` as soon as it is there, and not made
again. ``docs/resources.md`` shows it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import neuroport as port
from benchmarks.chips import BOARD, ROOT, SAMPLES, measured, on_lava
from neuroport.data.loading import load_data, with_bits
from neuroport.errors import IllegalError
from neuroport.files import write_atomic, write_json
from neuroport.recipe import Recipe, load_recipe
from neuroport.training.checkpoint import (
    State,
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from neuroport.training.fit import evaluate, fit

RESULT = ROOT / "docs" / "constructions.json"
RUNS = ROOT / "runs" / "constructions"
CONSTRUCTIONS = {  # name -> (projection, stem, bits of pixels)
    "published": ("membrane", "rounding", 8),
    "published, coarse stem": ("membrane", "coarse", 8),
    "published, coarse stem, 4 bits": ("membrane", "coarse", 4),
    "spike": ("spike", "rounding", 8),
    "spike, coarse stem": ("spike", "coarse", 8),
    "composed": ("composed", "rounding", 8),
    "composed, coarse stem": ("composed", "coarse", 8),
    "composed, coarse stem, 4 bits": ("composed", "coarse", 4),
}
NETWORKS = (
    "ms_resnet8_mnist",
    "ms_resnet20_mnist",
    "danet20_membrane_stage_mnist",
    "danet20_membrane_network_mnist",
)
REAL, INTEGER = 2, 1  # epochs of training again
ON_LAVA = 5  # samples


def recipe_of(network: str, construction: str) -> Recipe | None:
    """The recipe in ``models/`` with another construction; None if the family has no such one."""
    recipe = load_recipe(ROOT / "models" / network / "recipe.toml")
    projection, stem, bits = CONSTRUCTIONS[construction]
    if recipe.network.family != "ms_resnet" and projection != "membrane":
        return None
    again = REAL if projection == "spike" else 0
    return replace(
        recipe,
        data=replace(recipe.data, bits=bits),
        network=replace(recipe.network, projection=projection, stem=stem),
        training=replace(recipe.training, epochs=again),
        quantization=replace(recipe.quantization, epochs=INTEGER),
    )


def weights(network: str, net: nn.Module) -> dict[str, torch.Tensor]:
    """The weights in ``models/`` for ``net``, in its real-valued phase."""
    before = read_checkpoint(ROOT / "models" / network).tensors
    found = net.state_dict()  # units of a grid are 0
    for name in dict(net.named_parameters()).keys() | {n for n in found if "running" in n}:
        found[name] = before[f"model.{name}"].reshape(found[name].shape)
    return found


def frames_of(network: str, recipe: Recipe) -> npt.NDArray[Any]:
    """The frames in ``models/``, with as many bits as the recipe has."""
    frames = np.load(ROOT / "models" / network / "frames.npy")[:, :SAMPLES]
    return frames if recipe.data.bits == 8 else with_bits(frames, recipe.data.bits)


def made(network: str, construction: str, recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """The network, trained again from the weights in ``models/``, and its accuracy in integers."""
    data = load_data(recipe.data)
    home = RUNS / f"{network} {construction}".replace(", ", "-").replace(" ", "-")
    if not home.exists():
        home.mkdir(parents=True)
        tensors = weights(network, build_network(recipe))
        start = {f"model.{name}": tensor for name, tensor in tensors.items()}
        save_checkpoint(home, State(recipe, 0, [], start))
    net = fit(recipe, home, data=data, report=lambda said: print(said, flush=True))
    correct = evaluate(net, data.test, recipe.data.steps)
    epochs = {"real": recipe.training.epochs, "integer": recipe.quantization.epochs}
    return net, {"epochs": epochs, "accuracy": 100 * correct / len(data.test.labels)}


def row(network: str, construction: str, recipe: Recipe) -> dict[str, Any]:
    """A network in a construction: its accuracy, and what it takes of the board."""
    frames = frames_of(network, recipe)
    try:
        net, found = made(network, construction, recipe)
        graph = port.quantize(net, frames)
    except IllegalError as error:
        return {"refused": error.message}
    lowered = port.lower(graph, BOARD)
    trace = port.run(lowered, frames)
    assert port.compare(port.run(graph, frames), trace)
    found["board"] = measured(lowered, trace, frames)
    if not found["board"]["rounding"]:
        found["lava"] = on_lava(
            lowered, frames[:, :ON_LAVA], port.run(lowered, frames[:, :ON_LAVA])
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--construction", choices=CONSTRUCTIONS, help="this one alone")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    for network in NETWORKS:
        for construction in CONSTRUCTIONS:
            recipe = recipe_of(network, construction)
            known = json.loads(options.out.read_text()) if options.out.exists() else {}
            skipped = options.only not in network or options.construction not in (
                None,
                construction,
            )
            if recipe is None or skipped or construction in known.get(network, {}):
                continue
            found = row(network, construction, recipe)
            print(network, construction, json.dumps(found), flush=True)
            known = json.loads(options.out.read_text()) if options.out.exists() else {}
            known.setdefault(network, {})[construction] = found
            ordered = {
                name: {c: known[name][c] for c in CONSTRUCTIONS if c in known[name]}
                for name in NETWORKS
                if name in known
            }
            write_json(options.out, ordered)
    if options.out == RESULT:
        from benchmarks.resources import page

        write_atomic(ROOT / "docs" / "resources.md", page().encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
