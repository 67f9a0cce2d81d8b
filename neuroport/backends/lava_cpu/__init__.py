"""The Lava engine: real Lava processes on its CPU simulator, in a child process with a deadline."""

from neuroport.backends.lava_cpu.engine import LavaCpu

__all__ = ["LavaCpu"]
