"""Count messages inside the process graph, and read the counts once per sample.

Lava executes every file of this folder when it looks for process models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class MessageCounter(AbstractProcess):
    """Count nonzero messages of any value in ``v``, from 0 when a sample begins.

    This exists on the CPU only: a LIF would add up the values of graded messages. Neurons that
    share a counter are adjacent.
    """

    def __init__(self, *, size: int, counters: int, interval: int, offset: int) -> None:
        super().__init__(interval=interval, offset=offset)
        self.a_in = InPort(shape=(size,))
        self.v = Var(shape=(counters,), init=0)


@implements(proc=MessageCounter, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class MessageCounterModel(PyLoihiProcessModel):
    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    v: Any = LavaPyType(np.ndarray, np.int32, precision=32)

    def run_spk(self) -> None:
        messages = self.a_in.recv()
        if (self.time_step - self.proc_params["offset"]) % self.proc_params["interval"] == 0:
            self.v[:] = 0
        self.v += np.count_nonzero(messages.reshape(len(self.v), -1), axis=1).astype(np.int32)


class CountReader(AbstractProcess):
    """Read the counters (``state``) of a population once per sample, into row n of an array file.

    It reads in the management phase of time step ``first + n * interval``, as a process on an
    embedded processor would: a sample's last message has arrived, the next sample's first has not.
    A count is the state shifted right by ``shift`` bits.
    """

    def __init__(self, *, path: str, size: int, first: int, interval: int, shift: int) -> None:
        super().__init__(path=path, first=first, interval=interval, shift=shift)
        self.state = RefPort(shape=(size,))


@implements(proc=CountReader, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class CountReaderModel(PyLoihiProcessModel):
    state: Any = LavaPyType(PyRefPort.VEC_DENSE, int)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rows = np.load(proc_params["path"], mmap_mode="r+")

    def post_guard(self) -> bool:
        sample, rest = divmod(
            self.time_step - self.proc_params["first"], self.proc_params["interval"]
        )
        return bool(rest == 0 and 0 <= sample < len(self.rows))

    def run_post_mgmt(self) -> None:
        sample = (self.time_step - self.proc_params["first"]) // self.proc_params["interval"]
        states = np.asarray(self.state.read()).astype(np.int64)
        self.rows[sample] = states >> self.proc_params["shift"]
