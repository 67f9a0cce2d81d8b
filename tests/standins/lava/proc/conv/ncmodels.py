"""Stand-in: Lava's CPU model where the extension has a neuron core's.

Where a test chose ``products``, its convolution is a product of matrices for each tap, which is the
same (sums below 2**53 are exact) and hundreds of times faster than Lava's, channel by channel.
"""

import json
import os

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv import utils
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.conv.process import Conv
from standin_faults import seeded

CHOSEN = json.loads(os.environ.get("NEUROPORT_STANDIN", "{}"))


def by_products(input_, weight, kernel_size, stride, padding, dilation, groups):
    """``lava.proc.conv.utils.conv`` of one group: input (W, H, C), weight (O, kW, kH, C)."""
    assert groups == 1
    (px, py), (sx, sy), (dx, dy) = padding, stride, dilation
    _, wide, high, _ = weight.shape
    padded = np.pad(input_.astype(np.float64), ((px, px), (py, py), (0, 0)))
    columns = (padded.shape[0] - dx * (wide - 1) - 1) // sx + 1
    rows = (padded.shape[1] - dy * (high - 1) - 1) // sy + 1
    output = np.zeros((columns, rows, len(weight)))
    for i in range(wide):
        for j in range(high):
            x, y = (wide - 1 - i) * dx, (high - 1 - j) * dy  # a convolution turns its kernel
            seen = padded[x : x + sx * columns : sx, y : y + sy * rows : sy]
            output += seen @ weight[:, i, j].T.astype(np.float64)
    return output.astype(weight.dtype)


if CHOSEN.get("products"):
    utils.conv = by_products


@seeded
@implements(proc=Conv, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelConv(PyConvModelFixed, AbstractNcProcessModel):
    pass
