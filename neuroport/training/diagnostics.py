"""Further metrics of an epoch: gradients, activity, weights.

Measuring them changes no bit of the training, and waits for a GPU once per epoch.
:mod:`neuroport.training.metrics` reads the results.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.capture.forward import evaluating
from neuroport.errors import TrainingError
from neuroport.graph import integers
from neuroport.nets.held_numbers import held
from neuroport.nets.neuron import Lif, Mlf, integrate, neurons_of
from neuroport.nets.stream import Stream, per_position
from neuroport.nets.synapse import Conv, Readout
from neuroport.quantization.cost import clipped, weights_of
from neuroport.quantization.scales import is_integer
from neuroport.training.loading import Batch, Job
from neuroport.training.trainable import FIRES, Trainable

BATCHES = 10  # number of batches per epoch whose gradients are measured
SAMPLES = 32  # number of held-out samples on which activity is measured


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
        batches: number of batches of the epoch; the first of each tenth is measured.
    """

    def __init__(self, net: nn.Module, batches: int) -> None:
        self.blocks: dict[str, list[int]] = {}
        trained = [name for name, each in net.named_parameters() if each.requires_grad]
        for at, name in enumerate(trained):
            node = net.node_of(name) if isinstance(net, Trainable) else name
            self.blocks.setdefault(block_of(node), []).append(at)
        self.found: list[list[float]] = []  # for each measured batch, the norm of each block
        self._every = -(-batches // BATCHES)
        self._waiting: list[Tensor] = []

    def restore(self, found: list[list[float]]) -> None:
        """Continue after the batches that were already measured.

        Raises:
            TrainingError: the norms belong to another network.
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
        """Read the rest from the device, and return the norms of every measured batch."""
        for norms in self._waiting:
            each = norms.tolist()
            self.found.append(
                [math.hypot(*(each[at] for at in places)) for places in self.blocks.values()]
            )
        self._waiting.clear()
        return self.found

    def told(self) -> dict[str, Any]:
        """Return the metrics: each block's mean norm over the batches whose norms are all finite.

        Batches with other gradients (``float16``) are skipped in training, too.
        """
        finite = [norms for norms in self.finish() if all(map(math.isfinite, norms))]
        means = {
            block: _short(sum(norms[at] for norms in finite) / len(finite))
            for at, block in enumerate(self.blocks)
            if finite
        }
        return {"batches": len(finite), "blocks": means}


class FewSamples:
    """A few samples, evenly from the evaluated batches.

    Args:
        batches: number of batches.
    """

    def __init__(self, batches: int) -> None:
        self._each = -(-SAMPLES // max(batches, 1))
        self._views: list[Tensor] = []

    def take(self, batch: Batch) -> None:
        """Keep the first samples of a batch that could be read."""
        left = min(self._each, SAMPLES - sum(each.shape[1] for each in self._views))
        read = [at for at in range(len(batch.labels)) if at not in batch.damaged][: max(left, 0)]
        self._views.append(batch.views[:, read].clone())

    def frames(self, steps: int, device: torch.device) -> Tensor | None:
        """Return frames (T, N, C, H, W); None if there is no sample."""
        views = torch.cat(self._views, 1) if self._views else None
        if views is None or views.shape[1] == 0:
            return None
        labels = torch.zeros(views.shape[1], dtype=torch.int64)
        return Batch(Job(labels.numpy()), views, labels).frames(steps, device)


class _Population:
    """Counts of a population that the network calls once or several times."""

    def __init__(self) -> None:
        self.neurons, self.spikes, self.silent, self.saturated = 0, 0.0, 0, 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], messages: Tensor) -> None:
        fired = messages.flatten(0, 1).amax(0) > 0
        self.neurons += fired.numel()
        self.silent += fired.numel() - int(fired.sum())
        self.spikes += float(messages.sum(dtype=torch.float64)) / messages.shape[1]
        if isinstance(args[0], Stream):
            self.saturated += sum(_saturated(level, args[0]) for level in neurons_of(module))

    def told(self, integer: bool) -> dict[str, Any]:
        """Return the population's metrics."""
        found = {
            "neurons": self.neurons,
            "spikes": _short(self.spikes / max(self.neurons, 1)),
            "dormant": _short(self.silent / max(self.neurons, 1)),
        }
        return found | ({"saturated": self.saturated} if integer else {})


def _saturated(neuron: Lif, stream: Stream) -> int:
    """Count the neurons, steps and samples at which the voltage saturates at 24 bits."""
    threshold = neuron.thresholds(stream)
    if isinstance(threshold, Tensor):
        threshold = per_position(threshold).to(torch.int64)
    distance, _ = integrate(stream.value, neuron.integer_bias(stream), *neuron.decays, threshold)
    voltage = distance + (threshold << integers.STATE_SHIFT)
    return int((voltage.abs() >= integers.STATE_MAX).sum())


@torch.no_grad()
def activity(net: nn.Module, frames: Tensor) -> dict[str, Any]:
    """Return the metrics of each population's activity on ``frames`` (T, N, C, H, W).

    * spikes: messages over all steps, per neuron and sample; summed over several levels
    * dormant: share of the neurons that fire at no step of any sample
    * saturated: in integers, how often a voltage saturates at 24 bits (unknown for a graph that is
      trained further)
    """
    if isinstance(net, Trainable):
        with evaluating(net):
            sent = net.messages(frames)
        firing = {name: each for name, each in sent.items() if isinstance(net.start[name], FIRES)}
        found = {name: _Population() for name in firing}
        for name, messages in firing.items():
            found[name](net, (None,), messages)
        told = {name: each.told(False) for name, each in found.items()}
        return {"samples": frames.shape[1], "populations": told}
    integer = is_integer(net)
    found = {name: _Population() for name, _ in _populations(net)}
    with ExitStack() as stack:
        for name, module in _populations(net):
            stack.enter_context(_heard(module, found[name]))
        stack.enter_context(evaluating(net))
        stack.enter_context(held(net))
        net(frames)
    told = {name: each.told(integer) for name, each in found.items() if each.neurons}
    return {"samples": frames.shape[1], "populations": told}


@contextmanager
def _heard(module: nn.Module, hear: _Population) -> Iterator[None]:
    """Context that counts what ``module`` sends; hooks would miss calls of ``module.forward``."""
    own, replaced = module.forward, vars(module).get("forward")

    def forward(*args: Any, **named: Any) -> Any:
        sent = own(*args, **named)
        hear(module, (*args, *named.values()), sent)
        return sent

    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if replaced is not None:
            module.forward = replaced


def _populations(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Return neurons by name; the levels of one neuron are one entry."""
    inner = {id(level) for m in net.modules() if isinstance(m, Mlf) for level in m.levels}
    for name, module in net.named_modules():
        if isinstance(module, (Lif, Mlf)) and id(module) not in inner:
            yield name, module


@torch.no_grad()
def clipped_weights(net: nn.Module) -> dict[str, Any]:
    """Return the metrics of integer weights: number per synapse, and those beyond 8 bits."""
    if isinstance(net, Trainable):
        return {
            name: {"weights": number, "clipped": beyond}
            for name, (number, beyond) in net.clipped().items()
        }
    found = {}
    for name, module in net.named_modules():
        if not isinstance(module, (Conv, Readout)) or float(module.lsb) == 0:
            continue
        if any(parameter.requires_grad for parameter in module.synapse.parameters()):
            weight, unit = weights_of(module)
            found[name] = {"weights": weight.numel(), "clipped": clipped(weight, unit)}
    return found


def _short(value: float) -> float:
    """Round to four digits, for display only."""
    return float(f"{value:.4g}")
