"""What an epoch's metrics say beside loss and accuracy: gradients, activity, weights.

Measured on the side: nothing here changes a bit of what is trained, and a GPU is waited for once an
epoch. :mod:`neuroport.training.metrics` reads it back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.capture.forward import evaluating
from neuroport.errors import TrainingError
from neuroport.graph import integers
from neuroport.nets.held_numbers import held
from neuroport.nets.neuron import Lif, Mlf, integrate
from neuroport.nets.stream import Stream
from neuroport.nets.synapse import Conv, Direct, Readout
from neuroport.quantization.cost import clipped, weights_of
from neuroport.quantization.scales import is_integer
from neuroport.training.loading import Batch, Job
from neuroport.training.trainable import FIRES, Trainable

BATCHES = 10  # of an epoch, whose gradients are measured
SAMPLES = 32  # held-out ones, on which activity is measured


def block_of(parameter: str) -> str:
    """The block of a parameter: ``stem``, ``blocks.3``, ``stages.0.blocks.1``."""
    parts = parameter.split(".")
    deep = 0
    while deep + 1 < len(parts) and parts[deep + 1].isdecimal():
        deep += 2
    return ".".join(parts[: max(deep, 1)])


class GradientNorms:
    """Norms of the gradient of each block at some batches of an epoch.

    Called with a network whose parameters hold the gradients of a batch.

    Args:
        batches: how many the epoch has; of each tenth the first one is measured.
    """

    def __init__(self, net: nn.Module, batches: int) -> None:
        self.blocks: dict[str, list[int]] = {}
        trained = [name for name, each in net.named_parameters() if each.requires_grad]
        block = net.node_of if isinstance(net, Trainable) else block_of
        for at, name in enumerate(trained):
            self.blocks.setdefault(block(name), []).append(at)
        self.found: list[list[float]] = []  # of a measured batch, the norm of each block
        self._every = -(-batches // BATCHES)
        self._waiting: list[Tensor] = []

    def restore(self, found: list[list[float]]) -> None:
        """Go on after the batches that were measured before.

        Raises:
            TrainingError: they are those of another network.
        """
        if any(len(norms) != len(self.blocks) for norms in found):
            raise TrainingError(
                f"the checkpoint holds gradients of other blocks than the {len(self.blocks)} of "
                "its network; train again in another folder"
            )
        self.found = [*found]

    def measures(self, index: int) -> bool:
        """Whether a batch of the epoch, from 0 on, is measured."""
        return index % self._every == 0

    @torch.no_grad()
    def __call__(self, net: nn.Module) -> None:
        norms = [
            each.new_zeros(()) if each.grad is None else torch.linalg.vector_norm(each.grad)
            for each in net.parameters()
            if each.requires_grad
        ]
        self._waiting.append(torch.stack([each.float() for each in norms]))

    def finish(self) -> list[list[float]]:
        """Read what is still on the device; the norms of every measured batch."""
        for norms in self._waiting:
            each = norms.tolist()
            self.found.append(
                [math.hypot(*(each[at] for at in places)) for places in self.blocks.values()]
            )
        self._waiting.clear()
        return self.found

    def told(self) -> dict[str, Any]:
        """Of an epoch's metrics: each block's mean norm over the batches at which all are finite.

        Gradients that are not (``float16``) are no step either.
        """
        finite = [norms for norms in self.finish() if all(map(math.isfinite, norms))]
        means = {
            block: _short(sum(norms[at] for norms in finite) / len(finite))
            for at, block in enumerate(self.blocks)
            if finite
        }
        return {"batches": len(finite), "blocks": means}


class FewSamples:
    """Some samples, evenly from the batches that are evaluated.

    Args:
        batches: how many there will be.
    """

    def __init__(self, batches: int) -> None:
        self._each = -(-SAMPLES // max(batches, 1))
        self._views: list[Tensor] = []

    def take(self, batch: Batch) -> None:
        """Keep the first ones of a batch that could be read."""
        left = min(self._each, SAMPLES - sum(each.shape[1] for each in self._views))
        read = [at for at in range(len(batch.labels)) if at not in batch.damaged][: max(left, 0)]
        self._views.append(batch.views[:, read].clone())

    def frames(self, steps: int, device: torch.device) -> Tensor | None:
        """Frames (T, N, C, H, W); None of no sample."""
        views = torch.cat(self._views, 1) if self._views else None
        if views is None or views.shape[1] == 0:
            return None
        labels = torch.zeros(views.shape[1], dtype=torch.int64)
        return Batch(Job(labels.numpy()), views, labels).frames(steps, device)


class _Population:
    """Counts of a population that a network calls, once or more."""

    def __init__(self) -> None:
        self.neurons, self.spikes, self.silent, self.saturated = 0, 0.0, 0, 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], messages: Tensor) -> None:
        fired = messages.flatten(0, 1).amax(0) > 0
        self.neurons += fired.numel()
        self.silent += fired.numel() - int(fired.sum())
        self.spikes += float(messages.sum(dtype=torch.float64)) / messages.shape[1]
        if isinstance(args[0], Stream):
            self.saturated += sum(_saturated(level, args[0]) for level in _levels(module))

    def told(self, integer: bool) -> dict[str, Any]:
        """The population in an epoch's metrics."""
        found = {
            "neurons": self.neurons,
            "spikes": _short(self.spikes / max(self.neurons, 1)),
            "dormant": _short(self.silent / max(self.neurons, 1)),
        }
        return found | ({"saturated": self.saturated} if integer else {})


def _levels(module: nn.Module) -> list[Lif]:
    levels = module.levels if isinstance(module, Mlf) else [module]
    return [level for level in levels if isinstance(level, Lif)]


def _saturated(neuron: Lif, stream: Stream) -> int:
    """At how many neurons, steps and samples the voltage is held at an end of its 24 bits."""
    threshold = neuron.integer_threshold
    distance, _ = integrate(stream.value, neuron.integer_bias(stream), *neuron.decays, threshold)
    voltage = distance + (threshold << integers.STATE_SHIFT)
    return int((voltage.abs() >= integers.STATE_MAX).sum())


@torch.no_grad()
def activity(net: nn.Module, frames: Tensor) -> dict[str, Any]:
    """Of an epoch's metrics: what each population does on ``frames`` (T, N, C, H, W).

    * spikes: messages over all steps, per neuron and sample; of several levels their sum
    * dormant: share of the neurons that fire at no step of any sample
    * saturated: in integers, how often a voltage is held at an end of its 24 bits
    """
    if isinstance(net, Trainable):
        return {"samples": frames.shape[1], "populations": _activity_of_graph(net, frames)}
    integer = is_integer(net)
    found = {name: _Population() for name, _ in _populations(net)}
    handles = [m.register_forward_hook(found[name]) for name, m in _populations(net)]
    try:
        with evaluating(net), held(net):
            net(frames)
    finally:
        for handle in handles:
            handle.remove()
    told = {name: each.told(integer) for name, each in found.items() if each.neurons}
    return {"samples": frames.shape[1], "populations": told}


def _activity_of_graph(net: Trainable, frames: Tensor) -> dict[str, Any]:
    found = {}
    for name, sent in net.messages(frames).items():
        if isinstance(net.start[name], FIRES):
            found[name] = population = _Population()
            population(net, (frames,), sent)
    return {name: each.told(False) for name, each in found.items()}


def _populations(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Neurons by name; those of several levels are one."""
    inner = {id(level) for m in net.modules() if isinstance(m, Mlf) for level in m.levels}
    for name, module in net.named_modules():
        if isinstance(module, (Lif, Mlf)) and id(module) not in inner:
            yield name, module


@torch.no_grad()
def clipped_weights(net: nn.Module) -> dict[str, Any]:
    """Of an epoch's metrics, in integers: weights of each synapse, and those beyond 8 bits."""
    found = {}
    if isinstance(net, Trainable):
        for name in map(net.node_of, (*net.weights, *net.own)):
            weights, beyond = net.clipped(name)
            found[name] = {"weights": weights, "clipped": beyond}
    for name, module in net.named_modules():
        trained = isinstance(module, (Conv, Readout)) and not isinstance(module, Direct)
        if trained and float(module.lsb) > 0:
            weight, unit = weights_of(module)
            found[name] = {"weights": weight.numel(), "clipped": clipped(weight, unit)}
    return found


def _short(value: float) -> float:
    """Four digits: what is shown, not what is computed with."""
    return float(f"{value:.4g}")
