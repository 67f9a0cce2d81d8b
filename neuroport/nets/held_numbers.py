"""Read small tensors of a network once per step: units, shifts, decays, thresholds.

These tensors have one or a few elements, and Python needs their values. Reading one from a GPU
waits for all earlier work, several times per layer. :func:`held` reads all of them in one
transfer. Inside it a number comes from that transfer, unless its tensor was changed or replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

FEW = 4  # largest number of elements: one per colour of a picture
_held: dict[int, tuple[Tensor, int, tuple[float, ...]]] = {}
Asked = dict[int, tuple[Tensor, tuple[float, ...]]]  # by the tensor's id
_asked: Asked | None = None  # what is asked for now, inside of asked()


def numbers(tensor: Tensor) -> tuple[float, ...]:
    """Return the elements of a small tensor."""
    found = _held.get(id(tensor))
    if found is not None and found[0] is tensor and found[1] == tensor._version:
        values = found[2]
    else:
        values = tuple(tensor.flatten().tolist()) if tensor.numel() > 1 else (tensor.item(),)
    if _asked is not None:
        _asked[id(tensor)] = tensor, values
    return values


def number(tensor: Tensor) -> float:
    """Return the only element of a tensor."""
    return numbers(tensor)[0]


@contextmanager
def asked() -> Iterator[Asked]:
    """Context that lists the tensors whose numbers are read, and what they are."""
    global _asked
    before, _asked = _asked, {}
    try:
        yield _asked
    finally:
        _asked = before


class Held:
    """The numbers of a network that were read together."""

    def __init__(self, net: nn.Module) -> None:
        self.tensors = list(small_tensors(net))
        self._versions: list[int] = []

    def refresh(self) -> None:
        """Read all numbers again in one transfer, if any was changed in place."""
        versions = [tensor._version for tensor in self.tensors]
        if versions == self._versions or not self.tensors:
            return
        self.keep(read(self.tensors))

    def keep(self, values: list[tuple[float, ...]]) -> None:
        """Store these values."""
        self._versions = [tensor._version for tensor in self.tensors]
        for tensor, version, found in zip(self.tensors, self._versions, values, strict=True):
            _held[id(tensor)] = (tensor, version, found)

    def drop(self) -> None:
        """Forget all values, so that each number is read from its tensor again."""
        for tensor in self.tensors:
            _held.pop(id(tensor), None)


def read(tensors: list[Tensor]) -> list[tuple[float, ...]]:
    """Return the elements of small tensors, read in one transfer."""
    with torch.no_grad():
        together = torch.cat([tensor.detach().flatten().double() for tensor in tensors]).tolist()
    found, at = [], 0
    for tensor in tensors:
        found.append(tuple(together[at : at + tensor.numel()]))
        at += tensor.numel()
    return found


@contextmanager
def held(net: nn.Module, like: nn.Module | None = None) -> Iterator[Held]:
    """Context in which the numbers of ``net`` are read together, and again by :meth:`Held.refresh`.

    Args:
        like: a network with the same tensors to read from instead, because those of a network on
            the device ``meta`` have no values.
    """
    found = Held(net)
    if like is None:
        found.refresh()
    else:
        found.keep(read(list(small_tensors(like))))
    try:
        yield found
    finally:
        found.drop()


def small_tensors(net: nn.Module) -> Iterator[Tensor]:
    """Return small parameters and buffers, except batch counters, which are not needed."""
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        counted = name.endswith("num_batches_tracked")
        if 0 < tensor.numel() <= FEW and not counted and not tensor.is_inference():
            yield tensor
