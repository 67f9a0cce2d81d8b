"""Build relays from Lava's own processes only. Imported by the workers only.

A relay that does not round is a ``GradedVec``. A relay that rounds is Lava's ``ProdNeuron``, which
sends ``(a_in1 * a_in2) >> exp`` where that exceeds ``vth``. With 1 in ``a_in2``, and half a unit of
the output added to ``a_in1``, this is ``(a + 2**(shift-1)) >> shift``, as in
:func:`neuroport.graph.integers.relay`. Both constants come through synapses from one neuron that
fires at every step, shared by all such relays. Its first spike arrives at the second step, as the
first current of any synapse does. Until then the relay computes ``0 >> shift`` and sends nothing.

Source: ``lava/proc/prodneuron`` of Lava 0.10.0; its tutorial on element-wise products
(``tutorials/lava_va/Tutorial02``) stores the output of a run on Loihi 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from lava.proc.dense.process import Dense
from lava.proc.graded.process import GradedVec
from lava.proc.lif.process import LIF
from lava.proc.prodneuron.process import ProdNeuron
from lava.utils.weightutils import SignMode

from neuroport.graph.integers import MESSAGE_MAX
from neuroport.graph.kinds.base import Shape

WEIGHT_BITS = (
    7  # exponent of the largest power of two among weights of one sign; larger ones need weight_exp
)


@dataclass(frozen=True)
class Rounding:
    """A relay that rounds; used like a process with ``a_in`` and ``s_out``."""

    process: Any

    @property
    def a_in(self) -> Any:
        """The port that receives its current."""
        return self.process.a_in1

    @property
    def s_out(self) -> Any:
        """The port from which it sends."""
        return self.process.s_out


class Constants:
    """The neuron that fires at every step, and its synapses; created when first needed."""

    def __init__(self) -> None:
        self.neuron: Any = None
        self.names: dict[Any, str] = {}  # the node that each process represents

    def relay(self, name: str, shape: Shape, shift: int, threshold: int) -> Any:
        """Build a relay, rounding or not, as a process or an object used like one."""
        threshold = min(threshold, MESSAGE_MAX)  # no message is larger
        if not shift:
            return GradedVec(shape=shape, vth=threshold)
        if self.neuron is None:
            # the voltage decays fully in one step: v = 1 > 0, at every step
            self.neuron = LIF(shape=(1,), vth=0, bias_mant=1, du=4095, dv=4095)
            self.names[self.neuron] = "constant of relays that round"
        process = ProdNeuron(shape=shape, vth=threshold, exp=shift)
        self._give(shift - 1, process.a_in1, f"half a unit of {name}")
        self._give(0, process.a_in2, f"factor of {name}")
        return Rounding(process)

    def _give(self, power: int, inlet: Any, name: str) -> None:
        """Add ``2**power`` to the current of every neuron, at every step."""
        shift = min(power, WEIGHT_BITS)
        synapse = Dense(
            weights=np.full((int(np.prod(inlet.shape)), 1), 1 << shift, np.int32),
            weight_exp=power - shift,
            sign_mode=SignMode.EXCITATORY,
        )
        self.neuron.s_out.connect(synapse.s_in)
        outlet = synapse.a_out if len(inlet.shape) == 1 else synapse.a_out.reshape(inlet.shape)
        outlet.connect(inlet)
        self.names[synapse] = name
