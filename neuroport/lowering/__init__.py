"""Passes that turn an integer graph into one for chip time (:mod:`neuroport.targets.lowering`).

A shortcut can be carried in several exact ways (``CARRIERS``); each is a pass, graph -> graph.
"""

from neuroport.deprecated import moved
from neuroport.lowering.carriers import CARRIERS, carry
from neuroport.lowering.cost import Cost, cost
from neuroport.lowering.latency import ALIGNMENTS

__all__ = ["ALIGNMENTS", "CARRIERS", "Cost", "carry", "cost"]

__getattr__ = moved(__name__, {"lower": "neuroport.targets.lowering:lower"})
