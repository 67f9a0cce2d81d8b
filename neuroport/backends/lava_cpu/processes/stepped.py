"""Populations on the CPU only, for Lava has none: adaptive thresholds, readouts that leak.

They are stepped by the lines that step them in the reference engine; what is Lava's here are
messages, time and synapses. That the lines are right is known from SLAYER itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from neuroport.backends.reference import own
from neuroport.backends.stepping import Stepped, stepper
from neuroport.graph.node import Shape, per_neuron


class SteppedReset(AbstractProcess):
    """Neurons at rest where a sample begins, steps ``offset + n * interval``.

    Args:
        node: whose constants they have.
        arriving: shape of their current.
        shape: of the neurons.
    """

    def __init__(
        self, *, node: Stepped, arriving: Shape, shape: Shape, interval: int, offset: int
    ) -> None:
        super().__init__(
            node=node, arriving=arriving, shape=shape, interval=interval, offset=offset
        )
        self.a_in = InPort(shape=(int(np.prod(arriving)),))
        self.s_out = OutPort(shape=(int(np.prod(shape)),))


@implements(proc=SteppedReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SteppedResetModel(PyLoihiProcessModel):
    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        node, arriving = proc_params["node"], proc_params["arriving"]
        self.step, count = stepper(node, arriving, per_neuron, own)
        self.rest = (np.zeros((1, *proc_params["shape"]), np.int64),) * count
        self.states: tuple[Any, ...] = self.rest

    def run_spk(self) -> None:
        current = self.a_in.recv().astype(np.int64).reshape(1, *self.proc_params["arriving"])
        if (self.time_step - self.proc_params["offset"]) % self.proc_params["interval"] == 0:
            self.states = self.rest
        self.states, sent = self.step(self.states, current)
        self.s_out.send(sent.reshape(-1).astype(np.int32))
