"""Random networks of neuroport's own layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from neuroport.nets.neuron import Lif, Mlf
from neuroport.nets.synapse import Conv, GradedConv, Readout
from tests.forwards.networks import SAMPLES, SIZE, STEPS, Drawn, Program, finished, wrapped
from tests.helpers.modules import randomize


def network(seed: int) -> Drawn:
    """A stem, up to ten layers joined at random, a readout."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    program = Program(rng, axis=2, last=False)
    width = int(rng.integers(2, 5))
    stem = program.module("stem", GradedConv(2, width, 3, padding=1, pixels=True))
    program.add("self.calls += 1")
    pranked = rng.random() < 0.6
    if pranked and rng.random() < 0.1:
        program.add("x = x.clone()")
        program.prank("x", False)
    program.add(f"v0 = {stem}(x)")
    currents, spikes = [("v0", width)], []
    for _ in range(int(rng.integers(4, 11))):
        lot = rng.random()
        if not spikes or lot < 0.22:
            spikes.append(_fire(program, *program.pick(currents)))
        elif lot < 0.47:
            currents.append(_convolve(program, *program.pick(spikes), width))
        elif lot < 0.60:
            alike = [c for c in currents if c[1] == width]
            left, right = program.pick(alike), program.pick(alike)
            if left != right or rng.random() < 0.1:
                currents.append((program.sum(left[0], right[0]), width))
        elif lot < 0.70:
            left, right = program.pick(spikes), program.pick(spikes)
            if left[1] == right[1] and (left != right or rng.random() < 0.1):
                spikes.append((program.sum(left[0], right[0]), left[1]))
        elif lot < 0.82:
            several = [program.pick(spikes) for _ in range(int(rng.integers(2, 4)))]
            total = sum(channels for _, channels in several)
            if total < 20:
                spikes.append((program.concatenate([v for v, _ in several]), total))
        elif lot < 0.86:
            project = program.module("project", GradedConv(width, width))
            name = program.name()
            alike = [c for c in currents if c[1] == width]
            program.add(f"{name} = {project}({program.pick(alike)[0]})")
            currents.append((name, width))
        elif lot < 0.88:
            both = [program.pick(currents) for _ in range(2)]
            currents.append((program.concatenate([v for v, _ in both]), sum(c for _, c in both)))
        elif lot < 0.92:
            variable, channels = program.pick(spikes)
            part = nn.Sequential(Conv(channels, width), Lif())
            branch, name = program.module("branch", part), program.name()
            way = program.pick(["{}({})", "checkpoint({}, {}, use_reentrant=False)"])
            program.ways.add("checkpoint" if "checkpoint" in way else "Sequential")
            program.add(f"{name} = {way.format(branch, variable)}")
            spikes.append((name, width))
        else:
            stream = rng.random() < 0.4
            program.keep(program.pick(currents if stream else spikes)[0], stream)
        if pranked and not program.pranks and rng.random() < 0.25:
            stream = rng.random() < 0.3 or not spikes
            program.prank(program.pick(currents if stream else spikes)[0], stream)
    last = currents[-1] if rng.random() < 0.7 else program.pick(currents)
    variable, channels = _fire(program, *last) if rng.random() < 0.8 else spikes[-1]
    for current, _ in currents:
        if not program.reads(current):  # currents without a reader are refused
            _fire(program, current, 0)
    readout = program.module("readout", Readout(channels, 3))
    program.add(f"return {readout}({variable})")
    net = finished(program, seed, "native")
    randomize(net, seed)
    drawn = wrapped(program, net, rng)
    shape = (STEPS, SAMPLES, 2, *SIZE)
    drawn.x = rng.integers(0, 256, shape).astype(np.uint8)
    return drawn


def _fire(program: Program, variable: str, channels: int) -> tuple[str, int]:
    old = [name for name, module in program.modules.items() if isinstance(module, Lif)]
    if old and program.rng.random() < 0.12:
        program.ways.add("a neuron layer called again")
        neuron = f"self.{program.pick(old)}"
    else:
        kind = Mlf if program.rng.random() < 0.1 else Lif
        neuron = program.module("lif", kind())
    name = program.name()
    program.add(f"{name} = {neuron}({variable})")
    return name, channels


def _convolve(program: Program, variable: str, channels: int, width: int) -> tuple[str, int]:
    old = [
        name
        for name, module in program.modules.items()
        if type(module) is Conv and module.synapse.in_channels == channels
    ]
    if old and program.rng.random() < 0.2:
        program.ways.add("a convolution called again")
        conv = f"self.{program.pick(old)}"
    else:
        groups = channels if width % channels == 0 and program.rng.random() < 0.3 else 1
        conv = program.module("conv", Conv(channels, width, groups=groups))
    name = program.name()
    program.add(f"{name} = {conv}({variable})")
    return name, width
