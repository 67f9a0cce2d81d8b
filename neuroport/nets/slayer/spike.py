"""The spike shortcut, and stages of it: spikes of several blocks add up to 0, 1, 2, ..."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from neuroport.errors import LayerError
from neuroport.nets.slayer.residual import Aside, Residual, checked, latency


class SpikeShortcut(Residual):
    """``y = blocks(x) + x``: add a branch's input to its output (SEW-ResNet's ``add``).

    With ``delay_shift`` x waits for the branch.

    Args:
        blocks: the branch.
        shortcut: a block for x, if the branch changes its shape.

    Raises:
        LayerError: there are no blocks, or a container cannot hold one of them.
    """

    def __init__(self, *blocks: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        if not blocks:
            raise LayerError("a SpikeShortcut needs a branch; give the blocks that it bypasses")
        self.blocks = nn.ModuleList(checked(block) for block in blocks)
        self.shortcut = None if shortcut is None else checked(shortcut)
        self.aside = Aside(blocks, [] if shortcut is None else [shortcut])

    @property
    def shape(self) -> Any:
        return self.blocks[-1].shape

    @property
    def latency(self) -> int:
        return sum(map(latency, self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for block in self.blocks:
            y = block(y)
        aside: Tensor = self.aside(x if self.shortcut is None else self.shortcut(x))
        return y + aside


class DenselyAdditive(Residual):
    """A stage in which every branch reads the sum of all earlier outputs.

    ::

        z_1 = F_1(x) + x,      z_k = F_k(z_(k-1)) + z_(k-1)

    This is DenseNet with + in place of concatenation. To add currents instead of spikes, nest
    :class:`~neuroport.nets.slayer.membrane.MembraneShortcut`.

    Args:
        branches: a block each, or a sequence of blocks.
        shortcut: a block for x, if the first branch changes its shape.

    Raises:
        LayerError: there are no branches, or a container cannot hold a block.
    """

    def __init__(
        self, *branches: nn.Module | Sequence[nn.Module], shortcut: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not branches:
            raise LayerError("a DenselyAdditive stage needs branches; give a block for each")
        self.sums = nn.ModuleList(
            SpikeShortcut(
                *([branch] if isinstance(branch, nn.Module) else branch),
                shortcut=shortcut if index == 0 else None,
            )
            for index, branch in enumerate(branches)
        )

    @property
    def shape(self) -> Any:
        return self.sums[-1].shape

    @property
    def latency(self) -> int:
        return sum(map(latency, self.sums))

    def forward(self, x: Tensor) -> Tensor:
        for each in self.sums:
            x = each(x)
        return x
