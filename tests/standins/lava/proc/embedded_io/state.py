"""Stand-ins for the readers of states: like ``VoltageReader`` of lava-dl's PilotNet notebook."""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from standin_faults import seeded


class Read(AbstractProcess):
    """Read after steps ``offset + 1 + n * interval``, send a step later."""

    axes = 1

    def __init__(self, shape, interval=1, offset=0):
        assert len(shape) == self.axes
        super().__init__(shape=shape, interval=interval, offset=offset % interval)
        self.ref = RefPort(shape=shape)
        self.out = OutPort(shape=shape)

    def connect_var(self, var):
        self.ref.connect_var(var)


class ReadConv(Read):
    axes = 3


class _Model(PyLoihiProcessModel):
    ref = LavaPyType(PyRefPort.VEC_DENSE, int)
    out = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.data = np.zeros(proc_params["shape"], np.int32)

    def run_spk(self):
        interval, offset = self.proc_params["interval"], self.proc_params["offset"]
        if (self.time_step - 1) % interval == (offset + 1) % interval:
            self.out.send(self.data)

    def post_guard(self):
        return (self.time_step - 1) % self.proc_params["interval"] == self.proc_params["offset"]

    def run_post_mgmt(self):
        self.data = self.ref.read().astype(np.int32) & 0xFFFFFF  # 24 bits, and no sign


@seeded
@implements(proc=Read, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ReadModel(_Model):
    pass


@implements(proc=ReadConv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ReadConvModel(_Model):
    pass
