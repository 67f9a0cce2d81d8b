"""Populations of which Lava has no process: every kind that this engine has no builder for.

Their own kind computes each step, as in the reference engine. Messages, time and synapses are
Lava's.
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
from neuroport.backends.stepped_populations import check_width
from neuroport.graph.kinds.base import Population, Shape, States, per_neuron


class SteppedReset(AbstractProcess):
    """Neurons at rest where a sample begins, steps ``offset + n * interval``.

    Args:
        node: whose constants they have.
        arriving: shape of their current.
        shape: of the neurons.
    """

    def __init__(
        self, *, node: Population, arriving: Shape, shape: Shape, interval: int, offset: int
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
        self.node: Population = node
        self.constants = node.setup(arriving, per_neuron, own)
        self.rest = (np.zeros((1, *proc_params["shape"]), np.int64),) * len(node.states)
        self.states: States = self.rest
        self.checked = [node.states.index(name) for name in node.checked_states]

    def run_spk(self) -> None:
        current = self.a_in.recv().astype(np.int64).reshape(1, *self.proc_params["arriving"])
        since = self.time_step - self.proc_params["offset"]
        if since % self.proc_params["interval"] == 0:
            self.states = self.rest
        self.states, sent = self.node.step(self.constants, self.states, current)
        if self.checked:
            states = (self.states[n] for n in self.checked)
            check_width(self.node.name, self.time_step, *states, current, sent)
        self.s_out.send(sent.reshape(-1).astype(np.int32))
