"""The network that a run would give if it ended now, where it is not the one that trains on.

With ``training.ema`` that is the average of the weights over steps; with ``training.keep =
"best"`` that of the phase's epoch of the highest accuracy. A checkpoint then holds it as
``model.*``, so that whoever reads it needs to know nothing of this, what trains on as
``trained.*``, and the average as ``average.*``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from neuroport.recipe import Recipe

MODEL, TRAINED, AVERAGE = "model.", "trained.", "average."
COUNT = "average_count"


class Average:
    """An exponential moving average of a network's state.

    ::

        average' = d average + (1 - d) weights,      d = min(decay, (1 + n) / (10 + n))

    after the n-th step (from 0), so that the first steps do not weigh on it; statistics of batch
    norms are averaged alike, integers are those of the network.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.net, self.decay, self.count = net, decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in _state(net).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step."""
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
        """Within it the network has the average's state."""
        own = {name: tensor.detach().clone() for name, tensor in _state(self.net).items()}
        self.net.load_state_dict(self.values)
        try:
            yield
        finally:
            self.net.load_state_dict(own)

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        """Go on as a checkpoint says; ``values`` are its ``average.*``, which fit the network."""
        self.count = int(tensors[COUNT])
        for name, tensor in values.items():
            self.values[name].copy_(tensor)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs."""
        found = {f"{AVERAGE}{name}": tensor for name, tensor in self.values.items()}
        return {**found, COUNT: torch.tensor(self.count)}


def _state(net: nn.Module) -> dict[str, Tensor]:
    return net.state_dict()


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint under a prefix, without it."""
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}


def with_shown(tensors: Mapping[str, Tensor], shown: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint whose network is ``shown``, and in which the one that trains on is kept."""
    trained = {f"{TRAINED}{name}": t for name, t in part(tensors, MODEL).items()}
    others = {name: t for name, t in tensors.items() if not name.startswith((MODEL, TRAINED))}
    return {**{f"{MODEL}{name}": t for name, t in shown.items()}, **trained, **others}


def keeps_more(recipe: Recipe) -> bool:
    """Whether a run may give another network than the one that trains on."""
    return recipe.training.ema > 0 or recipe.training.keep == "best"
