"""Nodes of a graph: what all of them share, and the kinds that come with neuroport."""

from neuroport.graph.kinds.adaptive import AdaptiveLif, AdaptiveRecurrent
from neuroport.graph.kinds.base import (
    KINDS,
    IntArray,
    Node,
    Pair,
    Population,
    Shape,
    Synapse,
    is_array,
    per_neuron,
)
from neuroport.graph.kinds.conv import Conv
from neuroport.graph.kinds.delay import Delay
from neuroport.graph.kinds.dense import Dense
from neuroport.graph.kinds.input import Input
from neuroport.graph.kinds.lif import Lif, Recurrent
from neuroport.graph.kinds.readout import LeakyReadout, Readout
from neuroport.graph.kinds.relay import Relay
from neuroport.graph.kinds.resonator import AdaptiveResonateFire, ResonateFire
from neuroport.graph.kinds.sigma_delta import Delta, Sigma, SigmaDelta
from neuroport.graph.kinds.subtractive import SubtractiveLif, SubtractiveRecurrent

OWN_KINDS = dict(KINDS)  # without those that other packages define

__all__ = [
    "KINDS",
    "OWN_KINDS",
    "AdaptiveLif",
    "AdaptiveRecurrent",
    "AdaptiveResonateFire",
    "Conv",
    "Delay",
    "Delta",
    "Dense",
    "Input",
    "IntArray",
    "LeakyReadout",
    "Lif",
    "Node",
    "Pair",
    "Population",
    "Readout",
    "Recurrent",
    "Relay",
    "ResonateFire",
    "Shape",
    "Sigma",
    "SigmaDelta",
    "SubtractiveLif",
    "SubtractiveRecurrent",
    "Synapse",
    "is_array",
    "per_neuron",
]
