"""The implementation of the engines (:mod:`neuroport.engines`): arithmetic, compiled code, Lava."""

from neuroport.deprecated import moved

__getattr__ = moved(__name__, {"run": "neuroport.engines.running:run"})
