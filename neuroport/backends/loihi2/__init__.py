"""Loihi 2 through Lava's proprietary extension. Not run on hardware: nobody here has a board."""

from neuroport.backends.loihi2.engine import Loihi2

__all__ = ["Loihi2"]
