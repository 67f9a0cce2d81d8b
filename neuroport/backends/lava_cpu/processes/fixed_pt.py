"""Processes other than neurons that Lava lacks: frame sources, raster sinks, delays.

All models are ``fixed_pt``. ``FrameSource`` and ``RasterSink`` read and write memory-mapped files,
because Lava reads a ``Var`` element by element.
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

from neuroport.backends.lava_cpu.fused_state import History


class FrameSource(AbstractProcess):
    """Send row ``t`` of an array file (steps, size) at step t, zeros after its end."""

    def __init__(self, *, path: str, size: int) -> None:
        super().__init__(path=path)
        self.s_out = OutPort(shape=(size,))


@implements(proc=FrameSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FrameSourceModel(PyLoihiProcessModel):
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r")

    def run_spk(self) -> None:
        t = self.time_step - 1
        row = self.rows[t] if t < len(self.rows) else np.zeros_like(self.rows[0])
        self.s_out.send(row.astype(np.int32))


class RasterSink(AbstractProcess):
    """Write the input of step t to row ``t`` of an array file (steps, size)."""

    def __init__(self, *, path: str, size: int) -> None:
        super().__init__(path=path)
        self.a_in = InPort(shape=(size,))


@implements(proc=RasterSink, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class RasterSinkModel(PyLoihiProcessModel):
    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r+")

    def run_spk(self) -> None:
        self.rows[self.time_step - 1] = self.a_in.recv()


class DelayLine(AbstractProcess):
    """Delay messages by ``delay`` steps; those sent before the sample began become 0."""

    def __init__(self, *, size: int, delay: int, interval: int, offset: int) -> None:
        super().__init__(size=size, delay=delay, interval=interval, offset=offset)
        self.s_in = InPort(shape=(size,))
        self.s_out = OutPort(shape=(size,))


@implements(proc=DelayLine, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class DelayLineModel(PyLoihiProcessModel):
    s_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.history = History(
            proc_params["size"],
            proc_params["delay"],
            proc_params["interval"],
            proc_params["offset"],
        )

    def run_spk(self) -> None:
        self.history.receive(self.s_in.recv(), self.time_step)
        self.s_out.send(self.history.ago(self.proc_params["delay"]))


class LateSynapse(AbstractProcess):
    """Synapse with delays within the sample, whose current arrives after ``1 + lag`` steps.

    ``parts`` lists (delay, sparse weights). Without delays it equals Lava's ``DelaySparse`` with
    every delay ``lag`` and unchanged weights.
    """

    def __init__(
        self, *, parts: list[tuple[int, Any]], exponent: int, lag: int, interval: int, offset: int
    ) -> None:
        super().__init__(parts=parts, exponent=exponent, lag=lag, interval=interval, offset=offset)
        outputs, inputs = parts[0][1].shape
        self.s_in = InPort(shape=(inputs,))
        self.a_out = OutPort(shape=(outputs,))


@implements(proc=LateSynapse, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class LateSynapseModel(PyLoihiProcessModel):
    s_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        parts = proc_params["parts"]
        outputs, inputs = parts[0][1].shape
        self.history = History(
            inputs,
            max(delay for delay, _ in parts),
            proc_params["interval"],
            proc_params["offset"],
        )
        self.pending = [np.zeros(outputs, np.int32) for _ in range(1 + proc_params["lag"])]

    def run_spk(self) -> None:
        self.a_out.send(
            self.pending.pop(0)
        )  # send first, so that a loop of processes does not deadlock
        self.history.receive(self.s_in.recv(), self.time_step)
        current = sum(w.dot(self.history.ago(delay)) for delay, w in self.proc_params["parts"])
        self.pending.append((current << self.proc_params["exponent"]).astype(np.int32))
