"""One process for many nodes of a network: populations and their input synapses.

It is neuroport's own process and has no counterpart on a chip. It exists because Lava's CPU
simulator takes time to synchronize each process at every step. It keeps chip time as Lava's own
processes do: ports, channels, phases, and one step for every synapse, whether its messages come
from another process or from inside this one. A step is one call of the kernels of the fast engine
(:mod:`neuroport.backends.lava_cpu.compiled_step`). Where these cannot run, the arithmetic of
neurons is :mod:`neuroport.graph.integers`, and synapses are exact products
(:mod:`neuroport.backends.lava_cpu.weight_products`). Lava executes every file of this folder when
it looks for process models.
"""

from __future__ import annotations

from collections.abc import Sequence
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

from neuroport.backends.lava_cpu.compiled_step import StepPlan
from neuroport.backends.lava_cpu.fused_state import (
    HeldPopulation,
    HeldSynapse,
    RunningCounter,
    RunningSynapse,
)


class Fused(AbstractProcess):
    """Populations and their input synapses; see :func:`fused_process`."""

    def __init__(
        self,
        *,
        sources: Sequence[int],
        synapses: Sequence[HeldSynapse],
        populations: Sequence[HeldPopulation],
        plan: StepPlan | None = None,
    ) -> None:
        super().__init__(
            synapses=synapses, populations=populations, plan=plan, paths={}, counters={}
        )
        for number, size in enumerate(sources):
            setattr(self, f"s_in_{number}", InPort(shape=(size,)))
        for number, population in enumerate(populations):
            setattr(self, f"s_out_{number}", OutPort(shape=(population.size,)))


class FusedModel(PyLoihiProcessModel):
    """Sends first, as Lava's synapses do: a current results from messages of the previous step."""

    inputs: int  # number of in-ports

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.synapses = [RunningSynapse(synapse) for synapse in proc_params["synapses"]]
        self.populations = proc_params["populations"]
        self.plan = proc_params["plan"]
        self.compiled = self.plan and self.plan.build()
        paths = proc_params["paths"]
        self.rows = {number: np.load(path, mmap_mode="r+") for number, path in paths.items()}
        self.counters = {n: RunningCounter(c) for n, c in proc_params["counters"].items()}

    def run_spk(self) -> None:
        if self.compiled:
            sent = self.compiled.step(self.time_step)
        else:
            currents = [synapse.give() for synapse in self.synapses]
            sent = [population.step(currents, self.time_step) for population in self.populations]
        for number, messages in enumerate(sent):
            getattr(self, f"s_out_{number}").send(messages)  # has no effect on an unconnected port
            if number in self.rows:
                self.rows[number][self.time_step - 1] = messages
            if number in self.counters:
                self.counters[number].take(messages, self.time_step)
        arrived = [getattr(self, f"s_in_{number}").recv() for number in range(self.inputs)]
        if self.compiled:
            self.compiled.take(arrived)
            return
        for synapse in self.synapses:
            synapse.take([*arrived, *sent], self.time_step)


def fused_process(
    sources: Sequence[int],
    synapses: Sequence[HeldSynapse],
    populations: Sequence[HeldPopulation],
    plan: StepPlan | None = None,
) -> Fused:
    """Return a process that receives messages at ``s_in_<n>`` and sends at ``s_out_<n>``.

    Lava fixes the ports of a model in its class and looks for it in the module of its process.
    There is therefore one class of each for every number of in-ports and of populations.
    """
    name = f"Fused{len(sources)}To{len(populations)}"
    if name not in globals():
        process = type(name, (Fused,), {"__module__": __name__})
        body: dict[str, Any] = {"__module__": __name__, "inputs": len(sources)}
        for number in range(len(sources)):
            body[f"s_in_{number}"] = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
        for number in range(len(populations)):
            body[f"s_out_{number}"] = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
        model = type(f"{name}Model", (FusedModel,), body)
        model = implements(proc=process, protocol=LoihiProtocol)(model)
        globals()[name] = process
        globals()[model.__name__] = tag("fixed_pt")(requires(CPU)(model))
    found: Fused = globals()[name](
        sources=sources, synapses=synapses, populations=populations, plan=plan
    )
    return found
