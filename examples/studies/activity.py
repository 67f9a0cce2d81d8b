"""How much the neurons of a trained network do on held-out samples.

A *unit* is a neuron; one of several levels counts once, its message being the number of levels that
fired.

* spikes per neuron: messages summed over all steps, units and samples, / (units * samples)
* dormant: share of units that fire at no step of any sample
* blocked: share of (unit, step, sample) at which no level's voltage lies within the window of the
  surrogate gradient, so that nothing is learned through the unit then
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroport.data.samples import Samples, frames_of
from neuroport.graph.integers import DECAY_UNITY
from neuroport.kernels.surrogate import SURROGATES
from neuroport.nets.neuron import Lif, Mlf


@dataclass
class _Unit:
    """Counts of one population, over all samples."""

    levels: list[Lif]
    spikes: float = 0.0
    open: int = 0
    seen: int = 0
    fired: list[Tensor] = field(default_factory=list)

    def __call__(self, _: nn.Module, args: tuple[Any, ...], messages: Tensor) -> None:
        self.spikes += float(messages.sum(dtype=torch.float64))
        self.fired.append(messages.flatten(0, 1).amax(0) > 0)
        self.seen += messages.numel()
        self.open += int(_learning(self.levels, args[0]).sum())


def _learning(levels: list[Lif], current: Tensor) -> Tensor:
    """Where the surrogate of any level is not zero, as ``current`` (T, ...)."""
    found = torch.zeros_like(current, dtype=torch.bool)
    for level in levels:
        if level.decays[0] != DECAY_UNITY:
            raise ValueError("neurons that keep their current are not measured")
        keep = 1 - level.decays[1] / DECAY_UNITY
        v = torch.zeros_like(current[0])
        for t, x in enumerate(current):
            v = x + keep * v
            found[t] |= SURROGATES[level.surrogate](v - level.threshold) > 0
            v = v.masked_fill(v > level.threshold, 0)
    return found


@torch.no_grad()
def activity(net: nn.Module, samples: Samples, steps: int, batch: int = 100) -> dict[str, Any]:
    """Units, spikes per neuron and sample, dormant and blocked share of a real-valued network."""
    multiple = [m for m in net.modules() if isinstance(m, Mlf)]
    inner = {level for m in multiple for level in m.levels}
    units: dict[nn.Module, _Unit] = {
        m: _Unit([*m.levels] if isinstance(m, Mlf) else [m])
        for m in net.modules()
        if isinstance(m, (Lif, Mlf)) and m not in inner
    }
    handles = [module.register_forward_hook(unit) for module, unit in units.items()]
    count = len(samples.labels)
    try:
        net.eval()
        for at in range(0, count, batch):
            frames = frames_of(samples, slice(at, at + batch), steps)
            net(torch.from_numpy(frames.astype(np.float32)))
    finally:
        for handle in handles:
            handle.remove()
    number = sum(unit.fired[0].numel() for unit in units.values())
    awake = sum(int(torch.stack(unit.fired).any(0).sum()) for unit in units.values())
    learning = sum(unit.open for unit in units.values())
    return {
        "neurons": number,
        "spikes_per_neuron": round(sum(u.spikes for u in units.values()) / (number * count), 4),
        "dormant": round(1 - awake / number, 4),
        "blocked": round(1 - learning / sum(unit.seen for unit in units.values()), 4),
    }
