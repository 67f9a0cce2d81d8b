"""Convert the group ``neuron`` of a stock NetX layer to a population.

Source: ``get_neuron_params`` in ``lava/lib/dl/netx/hdf5.py``, lava-dl 0.6.0. Adaptive neurons are
read as SLAYER writes them (``device_params``): NetX ignores their adaptation, or stops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from neuroport.graph.integers import BIAS_MAX, STATE_SHIFT
from neuroport.graph.kinds.base import Population
from neuroport.graph.node import (
    AdaptiveLif,
    AdaptiveRecurrent,
    AdaptiveResonateFire,
    Delta,
    IntArray,
    Lif,
    Recurrent,
    ResonateFire,
    Sigma,
    SigmaDelta,
)
from neuroport.netx.field_reader import Entry

SPIKING = ("CUBA", "LOIHI")
ADAPTIVE = "ALIF"
RESONATING = {
    "RF_PHASE": False,
    "RF_IZHIKEVICH": True,
    "ADRF_PHASE": False,
    "ADRF_IZHIKEVICH": True,
}
BIAS_BITS = BIAS_MAX.bit_length() + 1
# a current of 11 bits, shifted by 12, fits the 24 bits of a delta encoder
DELTA_BITS = 11


def input_bits(neuron: Entry) -> int:
    """Return the bits of the frames that drive an input layer."""
    return DELTA_BITS if neuron.text("type") == "SDNN" else BIAS_BITS


def population(
    name: str,
    source: str,
    neuron: Entry,
    bias: IntArray | None,
    *,
    first: bool = False,
    own: IntArray | None = None,
    is_complex: bool = False,
) -> Population:
    """Build a layer's neurons.

    Args:
        bias: the layer's bias, or None.
        first: whether this is the input layer.
        own: recurrent weights (N, N).
        is_complex: whether the current has real and imaginary rows.

    Raises:
        FormatError: no graph can express the neurons or one of their fields.
    """
    kind = neuron.text("type")
    if is_complex != (kind in RESONATING):
        neuron.refuse("type", f"is {kind}: resonators, and only they, take complex weights")
    if own is not None and kind not in (*SPIKING, ADAPTIVE):
        neuron.refuse("type", f"is {kind}; a recurrent layer has CUBA or ALIF neurons")
    node: Population
    if kind in SPIKING:
        node = _spiking(name, source, neuron, bias, own)
    elif kind == ADAPTIVE:
        node = _adaptive(name, source, neuron, bias, own)
    elif kind == "SDNN":
        node = _sigma_delta(name, source, neuron, bias, first)
    elif kind in RESONATING:
        node = _resonating(name, source, neuron, bias, kind)
    else:
        neuron.refuse("type", f"is {kind}, a neuron that Lava does not have")
    neuron.finish()
    return node


def _spiking(
    name: str, source: str, neuron: Entry, bias: IntArray | None, own: IntArray | None
) -> Lif | Recurrent:
    neuron.expect("refDelay", (0, 1), "NetX ignores it, no neuron here is refractory")
    neuron.expect("wgtExp", (0,), "NetX ignores it")
    neuron.expect("weight_exp", (0,), "NetX ignores it; scale the threshold instead")
    neuron.expect("gradedSpike", (0,), "NetX ignores it and sends spikes")
    neuron.pass_over("theta", "tauRho", "scaleRho")  # for training
    constants = {
        "threshold": neuron.integers("vThMant"),
        "current_decay": neuron.integers("iDecay"),
        "voltage_decay": neuron.integers("vDecay"),
        "bias": np.zeros(1, np.int64) if bias is None else bias,
    }
    constants = {item: np.atleast_1d(values) for item, values in constants.items()}
    if own is not None:
        return Recurrent(name, (source,), own, **constants)
    return Lif(name, (source,), **constants)


def _adaptive(
    name: str, source: str, neuron: Entry, bias: IntArray | None, own: IntArray | None
) -> AdaptiveLif | AdaptiveRecurrent:
    neuron.expect("refDelay", (0, 1), "SLAYER's adaptive neurons may fire at every step")
    neuron.expect("weight_exp", (0,), "no neuron here scales a decaying current")
    neuron.expect("gradedSpike", (0,), "neurons here send spikes")
    fields: dict[str, Any] = {
        "current_decay": np.atleast_1d(neuron.integers("iDecay")),
        "voltage_decay": np.atleast_1d(neuron.integers("vDecay")),
        "bias": np.zeros(1, np.int64) if bias is None else np.atleast_1d(bias),
        **_adaptation(neuron),
    }
    if own is not None:
        return AdaptiveRecurrent(name, (source,), own, **fields)
    return AdaptiveLif(name, (source,), **fields)


def _adaptation(neuron: Entry) -> dict[str, Any]:
    return {
        "threshold": neuron.integer("vThMant") << STATE_SHIFT,
        "threshold_step": neuron.integer("vThStep") << STATE_SHIFT,
        "threshold_decay": np.atleast_1d(neuron.integers("thDecay")),
        "refractory_decay": np.atleast_1d(neuron.integers("refDecay")),
    }


def _sigma_delta(
    name: str, source: str, neuron: Entry, bias: IntArray | None, first: bool
) -> Delta | SigmaDelta | Sigma:
    activation = neuron.text("activation") if neuron.has("activation") else "relu"
    if activation != "relu" and not first:
        neuron.refuse("activation", f"is {activation!r}; NetX rectifies (relu) whatever it says")
    threshold = neuron.integer("vThMant", 0)
    if neuron.has("sigma_output") and neuron.integer("sigma_output"):
        if bias is not None and bias.any():
            neuron.refuse("sigma_output", "comes with a bias, which Lava's Sigma does not have")
        return Sigma(name, (source,))
    if first:
        return Delta(name, (source,), threshold)
    return SigmaDelta(
        name, (source,), threshold, np.zeros(1, np.int64) if bias is None else np.atleast_1d(bias)
    )


def _resonating(
    name: str, source: str, neuron: Entry, bias: IntArray | None, kind: str
) -> Population:
    neuron.expect("gradedSpike", (0,), "NetX ignores it and sends spikes")
    neuron.expect("weight_exp", (0,), "NetX ignores it; scale the threshold instead")
    if bias is not None and bias.any():
        neuron.refuse("type", "comes with a bias, which NetX ignores for resonators")
    fields: dict[str, Any] = {
        "sin": np.atleast_1d(neuron.integers("sinDecay")),
        "cos": np.atleast_1d(neuron.integers("cosDecay")),
        "izhikevich": RESONATING[kind],
    }
    if kind.startswith("ADRF"):
        return AdaptiveResonateFire(name, (source,), **_adaptation(neuron), **fields)
    return ResonateFire(name, (source,), neuron.integer("vThMant") << STATE_SHIFT, **fields)
