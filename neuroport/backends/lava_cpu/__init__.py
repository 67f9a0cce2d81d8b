"""The Lava engine: real Lava processes on its CPU simulator, in a child process with a deadline."""

from neuroport.deprecated import moved

__getattr__ = moved(__name__, {"LavaCpu": "neuroport.engines.lava_cpu:LavaCpu"})
