"""Integer spikes: neurons that send 0 to D, a form of multi-level neurons.

With one step, the neuron of E-SpikeFormer and SpikeYOLO (I-LIF) sends ``round(clip(x, 0, D))``.
This equals D levels with thresholds 0.5, 1.5, ..., D - 0.5 under one current (:class:`Mlf`), with
the same gradient (1 where 0 < x < D). They differ only if x is exactly halfway between two
integers: a level must be exceeded, and torch rounds to the even integer. The authors divide the
output by D; here the following weights include this factor.

Over several steps, the authors' neuron keeps ``v - s`` of one voltage for all levels. On a chip
each level has its own voltage, and no population can subtract another population's spikes from it
(:class:`~neuroport.graph.kinds.subtractive.SubtractiveLif` subtracts its own). Over T > 1 steps
these neurons therefore forget all but 1/4096 of a voltage, and each step is the one-step neuron.
"""

from __future__ import annotations

from neuroport.arguments import takes, whole_number
from neuroport.errors import LayerError
from neuroport.nets.neuron import FORGETS, Mlf


@takes(levels=whole_number(1, LayerError))
def integer_spikes(levels: int = 4, surrogate: str = "rectangular") -> Mlf:
    """A neuron without memory that sends 0 to ``levels``, each with the ``surrogate``.

    The authors use the surrogate ``rectangular``. Takes a current, gives messages (T, N, C, H, W).
    """
    thresholds = [level + 0.5 for level in range(levels)]
    return Mlf(thresholds, voltage_decay=FORGETS, surrogate=surrogate, detach_reset=True)
