"""Training steps: neuroport, the bare network, lava-dl's SLAYER and SpikingJelly."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.speed.elsewhere import Elsewhere
from benchmarks.speed.figure import Figure
from benchmarks.speed.slayer import Slayer, last
from benchmarks.speed.timing import Turns, in_turn
from benchmarks.speed.topology import BLOCKS, WIDTHS, Bare, frames, stepping
from neuroport.nets.ds_resnet import DsResNet
from neuroport.nets.ms_resnet import MsResNet
from neuroport.quantization.scales import freeze_scales

BARE = ("bare, contiguous", "bare, channels last")


def measure(rounds: int, elsewhere: Elsewhere) -> list[Figure]:
    """Figures at batch 16 and 64; ``elsewhere`` has timed SpikingJelly."""
    found = []
    for batch in (16, 64):
        x, labels = frames(batch)
        ways = {
            name: stepping(Bare(True, order, norm=True), x / 255, labels)
            for name, order in zip(BARE, (False, True), strict=True)
        }
        # as training has it
        own = MsResNet(BLOCKS, WIDTHS, in_channels=3).to(memory_format=torch.channels_last)
        ways["neuroport"] = stepping(own, x, labels)
        ways["integers"] = stepping(_frozen(MsResNet(BLOCKS, WIDTHS, in_channels=3), x), x, labels)
        ways["slayer"] = stepping(Slayer(), last(x), labels)
        found += _figures(in_turn(ways, rounds), batch, elsewhere)
    return found + _levels(rounds)


def _figures(turns: Turns, batch: int, elsewhere: Elsewhere) -> list[Figure]:
    bare = turns.faster(*BARE)
    own = f"MS-ResNet-20, batch {batch}, training step"
    ours = turns.ratio("neuroport", bare)
    found = [
        Figure(f"{own}: bare", turns.time(bare), "s"),
        Figure(f"{own}: neuroport / bare", ours, "x", 1.05),
        Figure(f"{own}: SLAYER / neuroport", turns.ratio("slayer", "neuroport"), "x", 3.0, True),
        Figure(
            f"{own}: integer phase / float phase", turns.ratio("integers", "neuroport"), "x", 1.1
        ),
    ]
    theirs = elsewhere.ratio(f"training, batch {batch}", "eager")
    if theirs is not None:
        goal = 1.7 if batch == 16 else 1.5
        what = f"{own}: SpikingJelly / neuroport, each over its bare network"
        found.append(Figure(what, elsewhere.over(theirs, ours), "x", goal, True))
    return found


def _levels(rounds: int) -> list[Figure]:
    x, labels = frames(16)
    ways = {
        name: stepping(Bare(False, order, norm=True), x / 255, labels)
        for name, order in zip(BARE, (False, True), strict=True)
    }
    ways["neuroport"] = stepping(DsResNet(BLOCKS, WIDTHS, in_channels=3, levels=3), x, labels)
    turns = in_turn(ways, rounds)
    ratio = turns.ratio("neuroport", turns.faster(*BARE))
    what = "DS-ResNet-20, K = 3, batch 16, training step: neuroport / bare"
    return [Figure(what, ratio, "x", 1.3)]


def _frozen(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """``net`` in its integer phase, after norms have seen a batch."""
    with torch.no_grad():
        net.train()(x)
    freeze_scales(net.eval(), x[:, :1])
    return net
