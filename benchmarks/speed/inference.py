"""The exact fast engine against bare float convolutions, SpikingJelly, SLAYER and Lava."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import neuroport as port
from benchmarks.speed.elsewhere import Elsewhere
from benchmarks.speed.figure import Figure
from benchmarks.speed.slayer import Slayer, last
from benchmarks.speed.timing import Spread, in_turn
from benchmarks.speed.topology import BLOCKS, WIDTHS, Bare, evaluating, frames
from benchmarks.speed.training import BARE
from neuroport.nets.ms_resnet import MsResNet
from tests.helpers.processors import OLDER, instructions

BATCH, LAVA_SAMPLES = 64, 4


def chip() -> Any:
    """MS-ResNet-20 on 3x32x32 with norms at full strength, as training may leave them, lowered."""
    torch.manual_seed(0)
    net = MsResNet(BLOCKS, WIDTHS, in_channels=3)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    x, _ = frames(8)
    with torch.no_grad():
        net.train()(x)
    return port.lower(port.quantize(net.eval(), x.numpy().astype(np.uint8)))


def measure(rounds: int, elsewhere: Elsewhere) -> list[Figure]:
    """Figures at batch 64; ``elsewhere`` has timed SpikingJelly."""
    graph = chip()
    x, _ = frames(BATCH)
    pixels = x.numpy().astype(np.uint8)
    changing = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    own_way = port.prepare(graph, "fast")  # as the bare network is prepared
    with instructions(*OLDER):
        older = port.prepare(graph, "fast")
        older.run(pixels)  # planned at the latest now
    ways = {
        name: evaluating(Bare(True, order, norm=False), x / 255)
        for name, order in zip(BARE, (False, True), strict=True)
    }
    ways |= {
        "bytes": lambda: own_way.run(pixels),
        "changing": lambda: own_way.run(changing),
        "older": lambda: older.run(pixels),
        "slayer": evaluating(Slayer(), last(x)),
    }
    with own_way, older:
        turns = in_turn(ways, rounds)
    bare = turns.faster(*BARE)
    own = f"MS-ResNet-20, batch {BATCH}, exact engine, every population stored"
    ours = turns.ratio("bytes", bare)
    found = [
        Figure(f"MS-ResNet-20, batch {BATCH}, inference: bare", turns.time(bare), "s"),
        Figure(f"{own}: with 8-bit convolutions / bare", ours, "x", 0.5),
        Figure(f"{own}: other frames in each step / bare", turns.ratio("changing", bare), "x", 0.5),
        Figure(f"{own}: as on older processors / bare", turns.ratio("older", bare), "x", 0.5),
        Figure(f"{own}: SLAYER / neuroport", turns.ratio("slayer", "bytes"), "x"),
    ]
    for way, goal in (("eager", 2.2), ("compiled", 1.25)):
        theirs = elsewhere.ratio("inference, batch 64", way)
        if theirs is not None:
            what = f"{own}: SpikingJelly {way} / neuroport, each over its bare network"
            found.append(Figure(what, elsewhere.over(theirs, ours), "x", goal, True))
    found.append(_over_lava(graph, pixels, turns.time("bytes")))
    return found


def _over_lava(graph: Any, pixels: np.ndarray, fast: Spread) -> Figure:
    """Lava's seconds per sample and step, once compiled, over the fast engine's, on one network."""
    each = []
    for _ in range(3):
        got = port.run(graph, pixels[:, :LAVA_SAMPLES], on="lava-cpu", deadline=3000)
        each.append(got.provenance["phases"]["run"] / LAVA_SAMPLES * BATCH / fast.median)
    want = port.run(graph, pixels[:, :LAVA_SAMPLES], on="fast")
    if not port.compare(want, got):
        raise AssertionError("Lava and the fast engine differ")
    what = "MS-ResNet-20: Lava CPU / exact engine, per sample and step"
    return Figure(what, Spread.of(each), "x", 500, True)
