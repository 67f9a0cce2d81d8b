"""Shortcuts for lava-dl: containers of SLAYER blocks, to be put into a SLAYER model.

lava-dl has a place for them, ``slayer.block.base.AbstractResidual``, and nothing in it. These fill
it. A container takes blocks as they are, reads spikes and sends spikes ``(N, *shape, T)``, and
stands wherever a block does::

    block = slayer.block.cuba
    self.blocks = nn.ModuleList([
        MembraneShortcut(
            block.Conv(params, 1, 16, 3, stride=2, padding=1),
            block.Conv(params, 16, 16, 3, padding=1),
            block.Conv(params, 16, 16, 3, padding=1),
        ),
        block.Flatten(),
        block.Dense(params, 16 * 49, 10),
    ])

It trains with SLAYER's neurons, losses and ``Assistant``. A shortcut waits as many steps as
``delay_shift`` makes its branch late. NetX's files hold chains alone, so ``export_hdf5`` refuses;
:func:`neuroport.quantize`, :func:`neuroport.lower` and :func:`neuroport.export` write the network.

:func:`from_slayer` and :func:`to_slayer` move weights between SLAYER's blocks and neuroport's own
layers. Needs lava-dl, which only these modules import.
"""

from neuroport.nets.slayer.exchange import from_slayer, to_slayer
from neuroport.nets.slayer.levels import MultiLevel
from neuroport.nets.slayer.membrane import MembraneShortcut
from neuroport.nets.slayer.spike import DenselyAdditive, SpikeShortcut

__all__ = [
    "DenselyAdditive",
    "MembraneShortcut",
    "MultiLevel",
    "SpikeShortcut",
    "from_slayer",
    "to_slayer",
]
