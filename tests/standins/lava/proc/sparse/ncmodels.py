"""Stand-in: Lava's CPU model where the extension has a neuron core's."""

from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.nc.model import AbstractNcProcessModel
from lava.magma.core.resources import Loihi2NeuroCore
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.sparse.models import PySparseModelBitAcc
from lava.proc.sparse.process import Sparse
from standin_faults import seeded


@seeded
@implements(proc=Sparse, protocol=LoihiProtocol)
@requires(Loihi2NeuroCore)
class NcModelSparse(PySparseModelBitAcc, AbstractNcProcessModel):
    pass
