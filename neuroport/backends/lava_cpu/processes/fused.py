"""One process for all that shares a dendrite: the synapses that reach it, and its populations.

Not one of Lava's own processes, and not what a chip would hold: it exists because Lava's CPU
simulator spends a quarter of a millisecond per process and step on keeping processes in time. It
keeps that time as Lava's own do: ports, channels, phases, and a step for every synapse. Arithmetic
of neurons is :mod:`neuroport.graph.integers`; synapses are exact products
(:mod:`neuroport.backends.lava_cpu.products`). Lava executes every file of this folder when it looks
for process models.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from neuroport.backends.lava_cpu.processes.fixed_pt import _History


@dataclass(frozen=True)
class HeldSynapse:
    """A synapse: in-ports whose messages add up, a product per delay, steps that it lags.

    ``offset`` is the time step at which a sample's first message arrives, Lava's, from 1.
    """

    ports: tuple[int, ...]
    products: list[tuple[int, Any]]
    size: int
    lag: int
    interval: int
    offset: int


class Fused(AbstractProcess):
    """Synapses and the populations of one dendrite; see :func:`fused_process`.

    Args:
        sources: sizes of what arrives at each in-port.
        synapses: :class:`HeldSynapse`, one after the other.
        populations: per population a function of (current, time step) that gives messages, the
            synapses whose currents it takes (one may count twice), and its size.
    """

    def __init__(
        self,
        *,
        sources: list[int],
        synapses: list[HeldSynapse],
        populations: list[tuple[Any, tuple[int, ...], int]],
    ) -> None:
        super().__init__(synapses=synapses, populations=populations, paths={})
        for number, size in enumerate(sources):
            setattr(self, f"s_in_{number}", InPort(shape=(size,)))
        for number, (_, _, size) in enumerate(populations):
            setattr(self, f"s_out_{number}", OutPort(shape=(size,)))


class FusedModel(PyLoihiProcessModel):
    """Sends first, as Lava's synapses do: a current is that of messages of the step before."""

    inputs: int
    outputs: int

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.synapses = [_Running(synapse) for synapse in proc_params["synapses"]]
        self.populations = proc_params["populations"]
        paths = proc_params["paths"]
        self.rows = {number: np.load(path, mmap_mode="r+") for number, path in paths.items()}

    def run_spk(self) -> None:
        currents = [synapse.pending.popleft() for synapse in self.synapses]
        for number, (step, taken, _) in enumerate(self.populations):
            current = sum((currents[other] for other in taken[1:]), currents[taken[0]])
            messages = step(current, self.time_step)
            getattr(self, f"s_out_{number}").send(messages)
            if number in self.rows:
                self.rows[number][self.time_step - 1] = messages
        arrived = [getattr(self, f"s_in_{number}").recv() for number in range(self.inputs)]
        for synapse in self.synapses:
            synapse.take(arrived, self.time_step)


class _Running:
    """The state of a synapse: messages that it still needs, currents that are on their way."""

    def __init__(self, held: HeldSynapse) -> None:
        self._held = held
        zero = np.zeros(held.size, np.int64)
        self.pending = deque([zero] * (1 + held.lag))
        self._history: _History | None = None

    def take(self, arrived: list[npt.NDArray[Any]], time_step: int) -> None:
        """Receive the messages of a step, and put the current on its way."""
        first, *others = self._held.ports
        messages = sum((arrived[port] for port in others), arrived[first])
        products = self._held.products
        if products[-1][0] == 0:
            self.pending.append(products[0][1](messages))
            return
        if self._history is None:
            start = {"interval": self._held.interval, "offset": self._held.offset}
            self._history = _History(len(messages), products[-1][0], start)
        self._history.receive(messages, time_step)
        parts = [product(self._history.ago(delay)) for delay, product in products]
        self.pending.append(sum(parts[1:], parts[0]))


def fused_process(
    sources: list[int],
    synapses: list[HeldSynapse],
    populations: list[tuple[Any, tuple[int, ...], int]],
) -> Fused:
    """A process with as many ports as it needs, in-ports ``s_in_<n>`` and out-ports ``s_out_<n>``.

    Lava fixes the ports of a model in its class, and finds it in the module of its process: there
    is a class of each for every number of ports.
    """
    name = f"Fused{len(sources)}To{len(populations)}"
    if name not in globals():
        process = type(name, (Fused,), {"__module__": __name__})
        ports: dict[str, Any] = {
            f"s_in_{number}": LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
            for number in range(len(sources))
        }
        for number in range(len(populations)):
            ports[f"s_out_{number}"] = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
        body = {"__module__": __name__, "inputs": len(sources), "outputs": len(populations)}
        model = type(f"{name}Model", (FusedModel,), body | ports)
        model = implements(proc=process, protocol=LoihiProtocol)(model)
        globals()[name] = process
        globals()[model.__name__] = tag("fixed_pt")(requires(CPU)(model))
    found: Fused = globals()[name](sources=sources, synapses=synapses, populations=populations)
    return found
