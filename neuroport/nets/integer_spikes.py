"""Integer spikes: neurons that send 0 to D, the heirs of multi-level neurons.

The neuron of E-SpikeFormer and SpikeYOLO (I-LIF) sends ``round(clip(x, 0, D))`` where it has one
step: that is D levels of thresholds 0.5, 1.5, ..., D - 0.5 under one current, :class:`Mlf`, with
the same gradient (1 where 0 < x < D). Only where x is exactly between two integers do they differ:
a level is exceeded, where torch rounds to the even one. What its authors divide by D is held by
the weights behind.

Over several steps the authors' neuron keeps ``v - s`` of one voltage for all levels. A level on a
chip has a voltage of its own, and no population here takes another one's spikes off its voltage:
over T > 1 steps these neurons keep nothing, and each step is the one-step neuron.
"""

from __future__ import annotations

from neuroport.nets.neuron import Mlf


def integer_spikes(levels: int = 4, surrogate: str = "rectangular") -> Mlf:
    """A neuron without memory that sends 0 to ``levels``.

    ``rectangular`` is the authors' surrogate.
    """
    thresholds = [level + 0.5 for level in range(levels)]
    return Mlf(thresholds, voltage_decay=1.0, surrogate=surrogate, detach_reset=True)
