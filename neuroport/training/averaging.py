"""The resulting network of a run, if it differs from the network that is being trained.

With ``training.ema`` it is the average of the weights over steps; with ``training.keep = "best"``
it is that of the phase's epoch with the highest accuracy. A checkpoint stores it as ``model.*``, so
that readers need not distinguish the cases. It stores the trained network as ``trained.*`` and the
average as ``average.*``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuroport.recipe import Recipe

MODEL, TRAINED, AVERAGE = "model.", "trained.", "average."
COUNT = "average_count"


class Average:
    """An exponential moving average of a network's state.

    ::

        average' = d average + (1 - d) weights,      d = min(decay, (1 + n) / (10 + n))

    after the n-th step (from 0), so that the first steps have little weight. Statistics of batch
    norms are averaged in the same way; integers are copied.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.count = net, decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in _state(net).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        self.count += 1
        for name, tensor in _state(self.net).items():
            kept = self.values[name]
            if kept.is_floating_point():
                kept.lerp_(tensor.detach(), 1 - decay)
            else:
                kept.copy_(tensor)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Context in which the network has the average's state."""
        own = {name: tensor.detach().clone() for name, tensor in _state(self.net).items()}
        self.net.load_state_dict(self.values)
        try:
            yield
        finally:
            self.net.load_state_dict(own)

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        """Restore the average from a checkpoint's ``average.*``, which fit the network."""
        self.count = int(tensors[COUNT])
        for name, tensor in values.items():
            self.values[name].copy_(tensor)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors for a checkpoint."""
        found = {f"{AVERAGE}{name}": tensor for name, tensor in self.values.items()}
        return {**found, COUNT: torch.tensor(self.count)}


def _state(net: nn.Module) -> dict[str, Tensor]:
    return net.state_dict()


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint with a prefix, without the prefix."""
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}


def with_shown(tensors: Mapping[str, Tensor], shown: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a checkpoint whose network is ``shown``, and which also holds the trained one."""
    trained = {f"{TRAINED}{name}": t for name, t in part(tensors, MODEL).items()}
    others = {name: t for name, t in tensors.items() if not name.startswith((MODEL, TRAINED))}
    return {**{f"{MODEL}{name}": t for name, t in shown.items()}, **trained, **others}


def accuracies(recipe: Recipe, metrics: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the accuracy, in percent, of the network that each phase gave, by phase.

    It is that of the best epoch with ``training.keep = "best"``, otherwise of the last one.
    """
    found: dict[str, float] = {}
    for epoch in metrics:
        phase, reached = epoch["phase"], epoch["accuracy"]
        if recipe.training.keep == "best":
            reached = max(reached, found.get(phase, reached))
        found[phase] = reached
    return found


def keeps_more(recipe: Recipe) -> bool:
    """Whether a run's result may differ from the trained network."""
    return recipe.training.ema > 0 or recipe.training.keep == "best"
