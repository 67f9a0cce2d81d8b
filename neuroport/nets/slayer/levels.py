"""The multi-level neuron (MLF): several neurons that share a dendrite and whose spikes add up."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.slayer.residual import Aside, Residual, axon, checked, dendrite, refuse_export


class Levels(nn.Module):
    """SLAYER neurons that receive the same current; ``s = sum_k neuron_k(current)``, 0..K.

    It has the attributes that a block needs of its ``neuron``. All levels have the same scale.
    """

    complex = False

    def __init__(self, *neurons: nn.Module) -> None:
        super().__init__()
        self.levels = nn.ModuleList(neurons)

    @property
    def shape(self) -> Any:
        return self.levels[0].shape

    @property
    def persistent_state(self) -> bool:
        return any(level.persistent_state for level in self.levels)

    def quantize_8bit(self, weight: Tensor, descale: bool = False) -> Tensor:
        first: Any = self.levels[0]
        return first.quantize_8bit(weight, descale)  # type: ignore[no-any-return]

    def forward(self, current: Tensor) -> Tensor:
        first, *others = self.levels
        total: Tensor = first(current)
        for level in others:
            total = total + level(current)
        return total


class MultiLevel(nn.Module):
    """A block whose neurons fire at several levels: its spikes are 0, 1, ..., K.

    On a chip it is K populations that share a dendrite. MLF's thresholds are 0.6, 1.6 and 2.6::

        params = {"threshold": 0.6, "current_decay": 1, "voltage_decay": 0.75}
        MultiLevel(
            slayer.block.cuba.Conv(params, 16, 16, 3, padding=1),
            slayer.neuron.cuba.Neuron(**{**params, "threshold": 1.6}),
            slayer.neuron.cuba.Neuron(**{**params, "threshold": 2.6}),
        )

    It may be the first or the last block of a ``MembraneShortcut``.

    Args:
        block: provides the synapse, the first level, delays and ``delay_shift``; do not use it
            elsewhere.
        neurons: the further levels.

    Raises:
        LayerError: there are no neurons, or their scale differs from the block's.
    """

    def __init__(self, block: Any, *neurons: Any) -> None:
        super().__init__()
        block = checked(block, opened=True)
        if isinstance(block, Residual) or not neurons:
            raise LayerError("a MultiLevel needs a SLAYER block and the neurons of further levels")
        scales = [neuron.w_scale for neuron in (block.neuron, *neurons)]
        if len(set(scales)) > 1:
            raise LayerError(f"neurons of one dendrite have one scale; these have {scales}")
        self.synapse = block.synapse
        self.neuron = Levels(block.neuron, *neurons)
        self.delay = block.delay
        self.register_buffer("mask", getattr(block, "mask", None))
        self.delay_shift = block.delay_shift
        self.step = Aside([self])

    @property
    def shape(self) -> Any:
        return self.neuron.shape

    def export_hdf5(self, handle: Any) -> NoReturn:
        """Refuse: see :func:`neuroport.nets.slayer.residual.refuse_export`."""
        refuse_export(self)

    def forward(self, x: Tensor) -> Tensor:
        return axon(self, self.step, self.neuron(dendrite(self, x)))
