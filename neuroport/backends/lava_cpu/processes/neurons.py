"""Lava's sigma-delta and resonate-and-fire neurons with a reset at the start of a sample.

Lava's processes (``lava.proc.sdn``, ``lava.proc.rf``, ``lava.proc.rf_iz``) do not reset, and its
compiler looks for a model by the class of the process. Each process here is Lava's with two more
parameters. Each model is Lava's fixed-point model; its states are cleared at steps ``offset + n *
interval``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.models import PyDenseModelBitAcc
from lava.proc.dense.process import Dense
from lava.proc.rf.models import PyRFModelFixed
from lava.proc.rf.process import RF
from lava.proc.rf_iz.models import PyRF_IZModelFixed
from lava.proc.sdn.models import PyDeltaModelFixed, PySigmaDeltaModelFixed, PySigmaModelFixed
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta

from neuroport.graph.integers import STATE_MAX


class _Reset:
    """Mixin for models: clear states when a sample begins, check widths after each step."""

    implements_process: Any = None  # hides Lava's own, which ``implements`` would not overwrite
    cleared: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()

    def run_spk(self) -> None:
        model: Any = self
        if (model.time_step - model.proc_params["offset"]) % model.proc_params["interval"] == 0:
            for name in self.cleared:
                setattr(model, name, np.zeros_like(getattr(model, name)))
        super().run_spk()  # type: ignore[misc]
        for name in self.checked:
            worst = int(np.abs(getattr(model, name)).max())
            if worst > STATE_MAX:
                raise OverflowError(f"{name} reaches {worst}, more than 24 bits hold")


class DeltaReset(Delta):
    """Lava's ``Delta`` with a reset."""

    def __init__(self, *, interval: int, offset: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.proc_params["interval"], self.proc_params["offset"] = interval, offset


@implements(proc=DeltaReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class DeltaResetModel(_Reset, PyDeltaModelFixed):
    cleared = ("act", "residue")
    checked = ("act",)


class SigmaDeltaReset(SigmaDelta):
    """Lava's ``SigmaDelta`` with a reset."""

    def __init__(self, *, interval: int, offset: int, **arguments: Any) -> None:
        super().__init__(interval=interval, offset=offset, **arguments)


@implements(proc=SigmaDeltaReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SigmaDeltaResetModel(_Reset, PySigmaDeltaModelFixed):
    cleared = ("sigma", "act", "residue")
    checked = ("sigma", "act")


class SigmaReset(Sigma):
    """Lava's ``Sigma`` with a reset."""

    def __init__(self, *, interval: int, offset: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.proc_params["interval"], self.proc_params["offset"] = interval, offset


@implements(proc=SigmaReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SigmaResetModel(_Reset, PySigmaModelFixed):
    cleared = ("sigma",)
    checked = ("sigma",)


class ResonatorReset(RF):
    """Lava's ``RF`` with a reset, given integers, and both dendrites in one in-port.

    The first half of ``a_in`` is real, the second imaginary. ``RF`` itself takes a period and a
    decay in floating point and truncates the integers computed from them.
    """

    def __init__(
        self, *, size: int, threshold: int, sin: Any, cos: Any, interval: int, offset: int
    ) -> None:
        super().__init__(shape=(size,), period=4, alpha=0, state_exp=6, decay_bits=12)
        self.proc_params["interval"], self.proc_params["offset"] = interval, offset
        del self.a_real_in, self.a_imag_in
        self.a_in = InPort(shape=(2 * size,))
        self.sin_decay = Var(shape=(size,), init=sin)
        self.cos_decay = Var(shape=(size,), init=cos)
        self.vth = Var(shape=(1,), init=threshold)


class ResonatorIzhikevichReset(ResonatorReset):
    """Lava's ``RF_IZ`` with the changes of :class:`ResonatorReset`."""


class _Received:
    """Replaces a port in Lava's model: one half of the input at ``a_in``."""

    def __init__(self, current: npt.NDArray[np.int32]) -> None:
        self.current = current

    def recv(self) -> npt.NDArray[np.int32]:
        return self.current


class _Halves(_Reset):
    """Mixin for models: read ``a_in`` as a real and an imaginary half."""

    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    sin_decay: Any = LavaPyType(np.ndarray, np.int32, precision=12)
    cos_decay: Any = LavaPyType(np.ndarray, np.int32, precision=12)
    a_real_in: Any = None  # hide Lava's own ports
    a_imag_in: Any = None
    cleared = ("real", "imag")

    def run_spk(self) -> None:
        real, imag = np.split(self.a_in.recv(), 2)
        self.a_real_in, self.a_imag_in = _Received(real), _Received(imag)
        super().run_spk()


@implements(proc=ResonatorReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ResonatorResetModel(_Halves, PyRFModelFixed):
    pass


@implements(proc=ResonatorIzhikevichReset, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class ResonatorIzhikevichResetModel(_Halves, PyRF_IZModelFixed):
    pass


class OwnSynapse(Dense):
    """Lava's ``Dense`` for recurrent weights; spikes do not pass into the next sample."""

    def __init__(self, *, interval: int, offset: int, **arguments: Any) -> None:
        super().__init__(interval=interval, offset=offset, **arguments)


@implements(proc=OwnSynapse, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class OwnSynapseModel(_Reset, PyDenseModelBitAcc):
    cleared = ("a_buff",)
