"""Stand-ins for the adapters between host and neuron cores."""

import json
import os

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.io.encoder import Compression
from standin_faults import seeded

CHOSEN = json.loads(os.environ.get("NEUROPORT_STANDIN", "{}"))


class _Adapter(AbstractProcess):
    def __init__(self, shape, num_message_bits=0, **arguments):
        assert num_message_bits in (0, 8, 16, 24, 32)
        super().__init__(shape=shape, bits=num_message_bits, **arguments)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)


class PyToNxAdapter(_Adapter):
    delay = CHOSEN.get("input_delay", 0)

    def __init__(self, shape, num_message_bits=0):
        assert len(shape) == 1
        super().__init__(shape, num_message_bits, delay=self.delay, out_of=False)


class PyToN3ConvAdapter(_Adapter):
    delay = CHOSEN.get("input_delay", 0)

    def __init__(self, shape, num_message_bits=0, spike_exp=0, compression=Compression.DENSE):
        assert len(shape) == 3
        assert (spike_exp, compression) == (0, Compression.DENSE)
        super().__init__(shape, num_message_bits, delay=self.delay, out_of=False)


class NxToPyAdapter(_Adapter):
    delay = CHOSEN.get("output_delay", 0)

    def __init__(self, shape, num_message_bits=0):
        super().__init__(shape, num_message_bits, delay=self.delay, out_of=True)


class _Model(PyLoihiProcessModel):
    inp = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    out = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.held = [np.zeros(proc_params["shape"], np.int32)] * proc_params["delay"]

    def run_spk(self):
        arrived = self.inp.recv()
        bits = self.proc_params["bits"]
        if bits:
            low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
            assert low <= arrived.min() <= arrived.max() <= high
            if self.proc_params["out_of"]:  # a chip sends 24 bits, and no sign
                arrived = arrived & 0xFFFFFF
        else:
            assert set(np.unique(arrived)) <= {0, 1}
        self.held.append(arrived)
        self.out.send(self.held.pop(0))


@implements(proc=PyToNxAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FlatModel(_Model):
    pass


@seeded
@implements(proc=PyToN3ConvAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class MapModel(_Model):
    pass


@implements(proc=NxToPyAdapter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class OutModel(_Model):
    pass
