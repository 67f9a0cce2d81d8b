"""The membrane shortcut: add the current of one block's neurons to that of a later block's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.slayer.residual import Aside, Residual, axon, checked, dendrite, latency


class MembraneShortcut(Residual):
    """A shortcut from the dendrites of the first block to the dendrites of the last.

    ::

        c = first.synapse(x)                          the current of the first block
        z = last.synapse(between(first.neuron(c)))
        y = last.neuron(z + c)                        with delay_shift, c waits for z

    Real values add up along the shortcut, without neurons in between (MS-ResNet). To continue the
    sum over more blocks, use a ``MembraneShortcut`` as the first block: the summed current of its
    neurons is then c::

        stage = MembraneShortcut(MembraneShortcut(a, b, c), d, e)

    Args:
        first: a block with one synapse, or a ``MembraneShortcut``.
        rest: the blocks that follow it; the last one receives the shortcut.
        shortcut: a synapse (``slayer.synapse.Conv(16, 32, 1, stride=2)``) if the last block has
            another shape. A synapse cannot read a current, so it reads the spikes of ``first``. If
            it has no ``pre_hook_fx``, it is quantized like the last block's synapse.

    Raises:
        LayerError: a block has no dendrite, or a container cannot hold it.
    """

    def __init__(
        self, first: nn.Module, *rest: nn.Module, shortcut: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not rest:
            raise LayerError("a MembraneShortcut needs two blocks or more; give the ones it spans")
        if isinstance(first, Residual) and not isinstance(first, MembraneShortcut):
            raise LayerError(f"{type(first).__name__} has spikes to add, no current; put it before")
        if isinstance(rest[-1], Residual):
            raise LayerError(f"{type(rest[-1]).__name__} cannot be the last block; nest the first")
        self.first: Any = checked(first, opened=True)
        self.between = nn.ModuleList(checked(block) for block in rest[:-1])
        self.last: Any = checked(rest[-1], opened=True)
        if shortcut is not None and shortcut.pre_hook_fx is None:
            shortcut.pre_hook_fx = self.last.neuron.quantize_8bit
        self.shortcut = shortcut
        # in order: from the first neurons to their axons, and on from there
        self.first_step = Aside([] if isinstance(first, MembraneShortcut) else [first])
        self.last_step = Aside([self.last])
        opening = [self._tail] if shortcut is None else []
        self.aside = Aside([*opening, *self.between])

    @property
    def _tail(self) -> Any:
        """The block whose neurons read the current of the first block's dendrites."""
        return self.first.last if isinstance(self.first, MembraneShortcut) else self.first

    @property
    def shape(self) -> Any:
        return self.last.neuron.shape

    @property
    def latency(self) -> int:
        return latency(self.first) + sum(map(latency, self.between)) + latency(self.last)

    @property
    def neuron(self) -> Any:
        """The neurons whose spikes the container sends."""
        return self.last.neuron

    def dendrite(self, x: Tensor) -> Tensor:
        """The current of the last block's neurons, including the shortcut."""
        if isinstance(self.first, MembraneShortcut):
            current = self.first.dendrite(x)
            spikes = self.first.fire(current)
        else:
            current = dendrite(self.first, x)
            spikes = axon(self.first, self.first_step, self.first.neuron(current))
        y = spikes
        for block in self.between:
            y = block(y)
        aside: Tensor = self.aside(current if self.shortcut is None else self.shortcut(spikes))
        return dendrite(self.last, y) + aside

    def fire(self, current: Tensor) -> Tensor:
        """Return the spikes for a ``current`` of the last block's neurons."""
        return axon(self.last, self.last_step, self.last.neuron(current))

    def forward(self, x: Tensor) -> Tensor:
        return self.fire(self.dendrite(x))
