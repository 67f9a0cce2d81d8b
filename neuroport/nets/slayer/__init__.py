"""Shortcuts for lava-dl: containers of SLAYER blocks for use in a SLAYER model.

lava-dl's own class for them, ``slayer.block.base.AbstractResidual``, is empty. A container holds
unchanged blocks, reads and sends spikes ``(N, *shape, T)``, and is used like a block::

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
``delay_shift`` delays its branch. NetX's files hold only chains, so ``export_hdf5`` refuses these
networks; :func:`neuroport.quantize`, :func:`neuroport.lower` and :func:`neuroport.export` write
them.

:func:`from_slayer` and :func:`to_slayer` move weights between SLAYER's blocks and neuroport's own
layers. These modules need lava-dl.
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
