"""Processes on the host: send frames to an adapter, receive messages and states from one.

Each has one model, none for a neuron core: ``Loihi2HwCfg`` selects it without a tag.
"""

from __future__ import annotations

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


def signed24(values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Extend the sign of 24-bit integers, which a chip sends in the low bits of a word."""
    return (values.astype(np.int64).astype(np.int32) << 8) >> 8


class FrameFeed(AbstractProcess):
    """Send row t of an array file (steps, *shape) at step t; then zeros, or all rows again."""

    def __init__(self, *, path: str, shape: tuple[int, ...], again: bool) -> None:
        super().__init__(path=path, again=again)
        self.s_out = OutPort(shape=shape)


@implements(proc=FrameFeed, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FrameFeedModel(PyLoihiProcessModel):
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r")

    def run_spk(self) -> None:
        t = self.time_step - 1
        if self.proc_params["again"]:
            t %= len(self.rows)
        row = self.rows[t] if t < len(self.rows) else np.zeros_like(self.rows[0])
        self.s_out.send(row.astype(np.int32))


class MessageFile(AbstractProcess):
    """Write the input of step t to row t of an array file (steps, *shape)."""

    def __init__(self, *, path: str, shape: tuple[int, ...]) -> None:
        super().__init__(path=path)
        self.a_in = InPort(shape=shape)


@implements(proc=MessageFile, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class MessageFileModel(PyLoihiProcessModel):
    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r+")

    def run_spk(self) -> None:
        self.rows[self.time_step - 1] = signed24(self.a_in.recv())


class StateFile(AbstractProcess):
    """Write states that arrive every ``interval`` steps, sample n at step ``first + n * interval``.

    A reader sends from its first interval on; states before ``first`` belong to no sample.
    """

    def __init__(self, *, path: str, shape: tuple[int, ...], first: int, interval: int) -> None:
        super().__init__(path=path, first=first, interval=interval)
        self.a_in = InPort(shape=shape)


@implements(proc=StateFile, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class StateFileModel(PyLoihiProcessModel):
    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r+")

    def run_spk(self) -> None:
        first, interval = self.proc_params["first"], self.proc_params["interval"]
        sample, rest = divmod(self.time_step - first, interval)
        if rest:
            return
        states = signed24(self.a_in.recv())
        if 0 <= sample < len(self.rows):
            self.rows[sample] = states
