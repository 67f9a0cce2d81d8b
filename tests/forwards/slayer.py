"""Random networks of genuine lava-dl SLAYER blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from tests.forwards.networks import SAMPLES, SIZE, STEPS, Drawn, Program, finished, wrapped
from tests.helpers.slayer_networks import MEAN, cuba, ready

ROWS = 6


def network(seed: int) -> Drawn:
    """Up to ten blocks joined at random, of rows or of maps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    program = Program(rng, axis=1, last=True)
    maps = bool(rng.random() < 0.4)
    width = int(rng.integers(2, 4)) if maps else ROWS
    shifts = program.pick([True, False, None])
    neuron: dict[str, Any] = {"threshold": float(rng.choice([0.5, 1.25]))}
    neuron |= MEAN if rng.random() < 0.3 else {}

    def block(inner: int, scale: float = 3) -> nn.Module:
        shift = bool(rng.random() < 0.5) if shifts is None else shifts
        own = {"weight_scale": scale, "delay_shift": shift, "neuron": neuron}
        own["delay"] = bool(rng.random() < 0.1)
        if maps:
            groups = inner if width % inner == 0 and rng.random() < 0.3 else 1
            return cuba("Conv", inner, width, 3, padding=1, groups=groups, **own)
        return cuba("Dense", inner, width, **own)

    program.add("self.calls += 1")
    pranked = rng.random() < 0.6
    if pranked and rng.random() < 0.1:
        program.add("x = x.clone()")
        program.prank("x", False)
    spikes, currents = [("x", width)], []
    program.add("rates = []")
    for step in range(int(rng.integers(3, 9))):
        lot = rng.random()
        variable, channels = program.pick(spikes)
        if step == 0 or lot < 0.4:
            name = program.name()
            old = [
                n
                for n, m in program.modules.items()
                if hasattr(m, "synapse") and m.synapse.weight.shape[1] == channels
            ]
            if old and rng.random() < 0.15:
                program.ways.add("a block called again")
                program.add(f"{name} = self.{program.pick(old)}({variable})")
            else:
                program.add(f"{name} = {program.module('block', block(channels))}({variable})")
            spikes.append((name, width))
        elif lot < 0.5:
            name = program.name()
            program.add(f"{name} = {program.module('part', block(channels))}.synapse({variable})")
            currents.append(name)
        elif lot < 0.6 and currents:
            current = program.pick(currents)
            if len(currents) > 1 and rng.random() < 0.6:
                other = program.pick(currents)
                current = program.sum(current, other) if other != current else current
            name = program.name()
            program.add(f"{name} = {program.module('cell', block(width))}.neuron({current})")
            spikes.append((name, width))
        elif lot < 0.7:
            other, wide = program.pick(spikes)
            if wide == channels and (other != variable or rng.random() < 0.1):
                spikes.append((program.sum(variable, other), channels))
        elif lot < 0.82:
            other, wide = program.pick(spikes)
            if wide + channels < 30:
                spikes.append((program.concatenate([variable, other]), wide + channels))
        elif lot < 0.88:
            program.ways.add("counts collected")
            program.add(f"rates.append(torch.sum({variable} > 0).item() / {variable}.numel())")
        elif lot < 0.92:
            name = program.name()
            part = nn.Sequential(block(channels))
            program.ways.add("checkpoint")
            way = f"checkpoint({program.module('branch', part)}, {variable}, use_reentrant=False)"
            program.add(f"{name} = {way}")
            spikes.append((name, width))
        else:
            program.keep(variable, False)
        if pranked and not program.pranks and rng.random() < 0.3:
            stream = bool(currents) and rng.random() < 0.3
            program.prank(program.pick(currents) if stream else program.pick(spikes)[0], stream)
    variable, channels = spikes[-1]
    name = program.name()
    program.add(f"{name} = {program.module('last', block(channels))}({variable})")
    if maps and rng.random() < 0.3:
        flat = program.pick(["torch.flatten({}, 1, 3)", "{}.reshape(len({0}), -1, {0}.shape[-1])"])
        program.ways.add("flattened")
        dense = cuba("Dense", width * SIZE[0] * SIZE[1], 3, weight_scale=2, neuron=neuron)
        out = program.name()
        program.add(
            f"{out} = {program.module('dense', dense)}({flat.replace('{}', '{0}').format(name)})"
        )
        name = out
    program.add(f"return {name}, torch.FloatTensor(rates)")
    net = finished(program, seed, "slayer")
    shape = (width, *SIZE) if maps else (width,)
    x = (torch.rand(SAMPLES, *shape, 3 * STEPS) < 0.4).float()
    ready(net, x)
    drawn = wrapped(program, net, rng)
    drawn.x = x
    return drawn
