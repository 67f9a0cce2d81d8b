"""Loihi 2 through Lava's proprietary extension. Not run on hardware: the authors have no board."""

from neuroport.deprecated import moved

__getattr__ = moved(__name__, {"Loihi2": "neuroport.engines.loihi2:Loihi2"})
