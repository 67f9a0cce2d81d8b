"""Whether the grid of a network is proven for every input or chosen from data.

Ranges of currents and states are either ``proven`` for every input, or ``checked``: taken from
calibration frames and checked by every engine at every step
(:mod:`neuroport.graph.declared_widths`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neuroport.arguments import is_module, one_of, takes
from neuroport.errors import LayerError

if TYPE_CHECKING:
    from torch import nn

PROVEN, CHECKED = "proven", "checked"
WIDTHS = (PROVEN, CHECKED)
_ATTRIBUTE = "widths_of_grid"  # of the network's module


def widths_of(net: nn.Module) -> str:
    """Return one of :data:`WIDTHS`; ``proven`` by default."""
    return str(getattr(net, _ATTRIBUTE, PROVEN))


@takes(net=is_module, widths=one_of(WIDTHS, LayerError))
def set_widths(net: nn.Module, widths: str) -> nn.Module:
    """Set the widths of ``net`` to one of :data:`WIDTHS`; this is not part of its state.

    Raises:
        LayerError: there are no such widths.
    """
    vars(net)[_ATTRIBUTE] = widths
    return net
