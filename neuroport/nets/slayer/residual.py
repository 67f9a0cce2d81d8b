"""Common parts of the residual containers for SLAYER.

In these modules a *block* is a block of ``lava.lib.dl.slayer.block``, a container, or an
``nn.Sequential`` of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from lava.lib.dl.slayer.axon import delay
from lava.lib.dl.slayer.block import base
from torch import Tensor, nn

from neuroport.errors import IllegalError, LayerError


class Residual(base.AbstractResidual):
    """A container of blocks that is used like a block; its blocks determine ``delay_shift``."""

    @property
    def shape(self) -> Any:
        """Shape of the output, without samples and steps; None before the first run."""
        raise NotImplementedError

    @property
    def latency(self) -> int:
        """Number of steps by which ``delay_shift`` delays the output."""
        raise NotImplementedError

    @property
    def delay_shift(self) -> bool:
        """Whether its blocks delay by a step; setting it applies to all of them."""
        return self.latency > 0

    @delay_shift.setter
    def delay_shift(self, shifts: bool) -> None:
        for module in self.modules():
            if isinstance(vars(module).get("delay_shift"), bool):
                module.delay_shift = shifts

    def export_hdf5(self, handle: Any) -> NoReturn:
        """Refuse: see :func:`refuse_export`."""
        refuse_export(self)


def refuse_export(block: nn.Module) -> NoReturn:
    """Refuse the export, because a layer of NetX reads only the previous layer.

    Raises:
        IllegalError: always, before anything is written.
    """
    raise IllegalError(
        f"{type(block).__name__} cannot be held by NetX's file: its layers are a chain of "
        "neurons with one threshold, and NetX would run the network without its shortcuts; "
        "write the whole network with "
        "neuroport.export(neuroport.lower(neuroport.quantize(net, frames)), 'network.net'), "
        "or give lower carrier='stock' for a file that unmodified NetX runs"
    )


class Aside(nn.Module):
    """Delay a shortcut by the delay of the bypassed blocks ``along``, minus its own, ``less``.

    The delay is computed in each run, so that ``delay_shift`` may be changed at any time.
    """

    def __init__(self, along: Sequence[nn.Module], less: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self._along, self._less = (
            tuple(along),
            tuple(less),
        )  # not as submodules: they are registered elsewhere

    @property
    def steps(self) -> int:
        found = sum(map(latency, self._along)) - sum(map(latency, self._less))
        if found < 0:
            raise LayerError(
                f"a shortcut is {-found} steps later than the branch that it bypasses; let its "
                "block not shift (delay_shift=False)"
            )
        return found

    def forward(self, x: Tensor) -> Tensor:
        steps = self.steps
        return delay(x, steps) if steps else x


def latency(block: nn.Module) -> int:
    """Return the number of steps by which ``delay_shift`` delays a block's output."""
    if isinstance(block, Residual):
        return block.latency
    if isinstance(block, nn.Sequential):
        return sum(map(latency, block))
    return int(getattr(block, "delay_shift", False) is True)


def checked(block: nn.Module, opened: bool = False) -> nn.Module:
    """Return ``block`` if a container can hold it.

    Args:
        opened: whether its synapse and its neurons are called separately.

    Raises:
        LayerError: a container cannot hold it; the error names the reason and an alternative.
    """
    kind = type(block).__name__
    if not isinstance(block, nn.Module):
        raise LayerError(f"{block!r} is not a block; give SLAYER's blocks in order")
    if getattr(block, "count_log", False):
        raise LayerError(f"{kind} logs counts, which end here; give it count_log=False")
    if not opened or isinstance(block, Residual):
        return block
    neuron, synapse = getattr(block, "neuron", None), getattr(block, "synapse", None)
    if neuron is None or synapse is None:
        raise LayerError(
            f"{kind} has no synapse and neurons between which a current could be added; let the "
            "first and the last block be a Dense, Conv, Pool, ConvT or Unpool"
        )
    if neuron.complex:
        raise LayerError(
            f"{kind} has resonators, whose currents are pairs; use a SpikeShortcut for them"
        )
    if neuron.persistent_state:
        raise LayerError(
            f"{kind} keeps its state from one call to the next (persistent_state), and a shortcut "
            "does not; set it to False and give whole recordings"
        )
    return block


def dendrite(block: Any, x: Tensor) -> Tensor:
    """Return the current of the neurons of ``block``, the first part of its forward pass."""
    if getattr(block, "mask", None) is not None:
        with torch.no_grad():
            block.synapse.weight.data *= block.mask
    return block.synapse(x)  # type: ignore[no-any-return]


def axon(block: Any, step: Aside, spikes: Tensor) -> Tensor:
    """Return ``spikes`` as ``block`` sends them, the last part of its forward pass."""
    sent = step(spikes)
    return sent if block.delay is None else block.delay(sent)  # type: ignore[no-any-return]
