"""Stand-in: Lava's CPU model where the extension has a neuron core's."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense
from standin_faults import seeded


@seeded
@implements(proc=Dense, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelDense(PyDenseModelBitAcc, AbstractNcProcessModel):
    pass
