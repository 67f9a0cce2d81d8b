"""Numbers of a network that Python reads while it runs: units, shifts, decays, thresholds.

They are tensors of one element or a few. Reading one from a GPU waits for all that was asked of it
before; a network does so several times a layer. :func:`held` reads all of them at once, and within
it a number is taken from there, unless its tensor was changed or replaced since.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

FEW = 4  # elements at most: what there is per colour of a picture
_held: dict[int, tuple[Tensor, int, tuple[float, ...]]] = {}


def numbers(tensor: Tensor) -> tuple[float, ...]:
    """The elements of a small tensor."""
    found = _held.get(id(tensor))
    if found is not None and found[0] is tensor and found[1] == tensor._version:
        return found[2]
    return tuple(tensor.flatten().tolist()) if tensor.numel() > 1 else (tensor.item(),)


def number(tensor: Tensor) -> float:
    """The only element of a tensor."""
    return numbers(tensor)[0]


class Held:
    """Numbers of a network that were read."""

    def __init__(self, net: nn.Module) -> None:
        self.tensors = list(_small(net))
        self._versions: list[int] = []

    def refresh(self) -> None:
        """Read them again, in one go, if any was changed in place."""
        versions = [tensor._version for tensor in self.tensors]
        if versions == self._versions or not self.tensors:
            return
        self.keep(read(self.tensors))

    def keep(self, values: list[tuple[float, ...]]) -> None:
        """Take these as their values."""
        self._versions = [tensor._version for tensor in self.tensors]
        for tensor, version, found in zip(self.tensors, self._versions, values, strict=True):
            _held[id(tensor)] = (tensor, version, found)

    def drop(self) -> None:
        """Read each where it is again."""
        for tensor in self.tensors:
            _held.pop(id(tensor), None)


def read(tensors: list[Tensor]) -> list[tuple[float, ...]]:
    """The elements of small tensors, in one transfer."""
    with torch.no_grad():
        together = torch.cat([tensor.detach().flatten().double() for tensor in tensors]).tolist()
    found, at = [], 0
    for tensor in tensors:
        found.append(tuple(together[at : at + tensor.numel()]))
        at += tensor.numel()
    return found


@contextmanager
def held(net: nn.Module, like: nn.Module | None = None) -> Iterator[Held]:
    """Within it the numbers of ``net`` are read at once, and again by :meth:`Held.refresh`.

    Args:
        like: a network of the same tensors, from which to read them instead: those of a network on
            the device ``meta`` have no values.
    """
    found = Held(net)
    if like is None:
        found.refresh()
    else:
        found.keep(read(list(_small(like))))
    try:
        yield found
    finally:
        found.drop()


def _small(net: nn.Module) -> Iterator[Tensor]:
    """Small parameters and buffers, but for counts of batches, which nobody reads."""
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        counted = name.endswith("num_batches_tracked")
        if 0 < tensor.numel() <= FEW and not counted and not tensor.is_inference():
            yield tensor
