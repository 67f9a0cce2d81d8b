"""How the grid of a network is chosen: for every input there could be, or from data.

Ranges of currents and states are ``proven`` for every input, or ``checked``: seen in calibration
frames, and looked at by every engine at every step (:mod:`neuroport.backends.declared_widths`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

PROVEN, CHECKED = "proven", "checked"
WIDTHS = (PROVEN, CHECKED)
_ATTRIBUTE = "widths_of_grid"  # of the network's module


def widths_of(net: nn.Module) -> str:
    """One of :data:`WIDTHS`, ``proven`` where nobody said."""
    return str(getattr(net, _ATTRIBUTE, PROVEN))


def set_widths(net: nn.Module, widths: str) -> nn.Module:
    """Let the grid of ``net`` be one of :data:`WIDTHS`; it is no part of its state."""
    vars(net)[_ATTRIBUTE] = widths
    return net
