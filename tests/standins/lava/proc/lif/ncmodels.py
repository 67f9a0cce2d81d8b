"""Stand-ins: Lava's CPU models where the extension has a neuron core's."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import PyLifModelBitAcc, PyLifResetModelBitAcc
from lava.proc.lif.process import LIF, LIFReset
from standin_faults import seeded


@seeded
@implements(proc=LIF, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelLIF(PyLifModelBitAcc, AbstractNcProcessModel):
    pass


@seeded
@implements(proc=LIFReset, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelLIFReset(PyLifResetModelBitAcc, AbstractNcProcessModel):
    pass
