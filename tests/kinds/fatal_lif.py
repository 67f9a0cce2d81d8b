"""A kind of neuron that ends its process when it receives much: a sample that nothing survives."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from neuroport.graph import integers
from neuroport.graph.kinds.base import SPIKES, IntArray, Population, States, constant, kind

FATAL = 1000


@kind("fatallif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class FatalLif(Population):
    """Fires above its threshold; a current of ``FATAL`` and more kills the process."""

    states = ("u", "v")

    name: str
    inputs: tuple[str, ...]
    threshold: IntArray = constant(1, integers.THRESHOLD_MAX)

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        if current.max() >= FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        u, v = states
        return (u, v + current), (v + current) > c.threshold

    def settle(self, c: Any, states: States, output: Any) -> States:
        return states
