"""The registry of node kinds: those that come with neuroport, and those of other packages.

Another package adds a kind by an entry point of the group ``neuroport.kinds``, with its name and
class.
"""

from neuroport.errors import GraphError
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
from neuroport.registry import Registry

OWN_KINDS = dict(KINDS)  # without those that other packages define
_ADDED = Registry(("kind of node", "kinds of nodes"), "neuroport.kinds", {}, GraphError)


def find_kind(name: str) -> type[Node] | None:
    """Return the kind that files call ``name``, also from other packages; None if unknown.

    Raises:
        GraphError: the package that adds it cannot be imported, or adds something else.
    """
    if name not in KINDS and name in _ADDED:
        found = _ADDED[name]  # its decorator has registered it
        if KINDS.get(name) is not found:
            raise GraphError(
                f"the entry point {name!r} of neuroport.kinds stands for {found!r:.100}, which is "
                f"not the kind of that name; name the class under @kind({name!r})"
            )
    return KINDS.get(name)


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
    "find_kind",
    "is_array",
    "per_neuron",
]
