"""The generic process for kinds of populations that have no Lava process and no builder.

The kind itself computes each step, as in the reference engine. Messages, time and synapses are
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

from neuroport.backends.lava_cpu.stepped_population import Stepped
from neuroport.backends.stepped_populations import check_width
from neuroport.graph.declared_widths import Window
from neuroport.graph.kinds.base import Population, Shape


class SteppedReset(AbstractProcess):
    """Neurons that are at rest when a sample begins; declared widths are checked.

    Args:
        node: the node with their constants.
        arriving: shape of their current.
        shape: shape of the neurons.
        window: the steps in which they process samples.
        limit: the declared limit of their current; None if it is proven.
    """

    def __init__(
        self,
        *,
        node: Population,
        arriving: Shape,
        shape: Shape,
        window: Window,
        limit: int | None = None,
    ) -> None:
        super().__init__(node=node, arriving=arriving, window=window, limit=limit)
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
        given = (proc_params[name] for name in ("node", "arriving", "window", "limit"))
        self.neurons = Stepped(*given)

    def run_spk(self) -> None:
        current = self.a_in.recv()
        sent = self.neurons.step(current, self.time_step)
        node, states = self.neurons.node, self.neurons.states
        if node.checked_states:
            checked = (states[node.states.index(name)] for name in node.checked_states)
            check_width(node.name, self.time_step, *checked, current, sent)
        self.s_out.send(sent.reshape(-1).astype(np.int32))
