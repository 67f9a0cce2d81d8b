# %% [markdown]
# # Writing a neuron kind
#
# A kind of neuron is one file: its constants with their ranges, its states, and one step. Engines, files,
# lowering, rules and comparing ask the kind; nothing else is changed. This one loses its threshold when it
# fires, instead of its whole voltage.

# %%
from pathlib import Path

source = '''
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neuroport.graph import integers
from neuroport.graph.kinds.base import (
    SPIKES, IntArray, Population, States, bias, constant, current_decay, kind, voltage_decay
)


@kind("softlif", emits=SPIKES)
@dataclass(frozen=True, eq=False)
class SoftLif(Population):
    """A LIF neuron that loses its threshold when it fires."""

    states = ("u", "v")
    threshold_shift = integers.STATE_SHIFT

    name: str
    inputs: tuple[str, ...]
    threshold: IntArray = constant(1, integers.THRESHOLD_MAX)
    current_decay: IntArray = current_decay()
    voltage_decay: IntArray = voltage_decay()
    bias: IntArray = bias()

    def integrate(self, c: Any, states: States, current: Any) -> tuple[States, Any]:
        u, v = states
        u, v, spikes = integers.lif_step(
            u, v, current, c.bias, c.current_decay, c.voltage_decay, c.threshold
        )
        return (u, v), spikes

    def settle(self, c: Any, states: States, output: Any) -> States:
        u, v = states
        return u, v - (c.threshold << integers.STATE_SHIFT) * output
'''
_ = Path("softlif.py").write_text(source)  # a module: Lava's child processes import it

# %% [markdown]
# * `constant(low, high)` is one number, or one per channel. Others are refused by name.
# * `integrate` is the step up to the output, `settle` what happens to the states afterwards. Both use
#   operators that NumPy and torch share, on integers.
#
# ## Use it
#
# Two populations under one current: ours and the LIF neuron that comes with neuroport.

# %%
import matplotlib.pyplot as plt
import numpy as np
from softlif import SoftLif

import neuroport as port
from neuroport import plot
from neuroport.graph.graph import Graph
from neuroport.graph.node import Dense, Input, Lif, Readout
from neuroport.targets.target import load_chip
from neuroport.targets.verdict import check

rng = np.random.default_rng(0)
weight = rng.integers(0, 20, (6, 20)) * 2
nodes = [
    Input("input", (20, 1, 1), bits=1),
    Dense("synapse", ("input",), weight),
    SoftLif("soft", ("synapse",), threshold=400, current_decay=4096, voltage_decay=410),
    Lif("hard", ("synapse",), threshold=400, current_decay=4096, voltage_decay=410),
    Dense("both", ("soft", "hard"), rng.integers(-10, 10, (2, 6)) * 2),
    Readout("output", ("both",)),
]
graph = Graph(nodes, steps=30)
frames = (rng.random((30, 2, 20, 1, 1)) < 0.4).astype(np.int64)
trace = port.run(graph, frames)
graph

# %% [markdown]
# The one keeps what exceeded the threshold, and fires more often:

# %%
figure, axes = plt.subplots(2, 1, figsize=(9, 6), sharex=True, constrained_layout=True)
plot.potential(graph, trace, frames, "soft", (0,), ax=axes[0])
plot.potential(graph, trace, frames, "hard", (0,), ax=axes[1])

# %% [markdown]
# ## On Lava
#
# Lava has no such neuron. A generic process of neuroport executes the lines above there, with Lava's
# messages, time and synapses.

# %%
chip = port.lower(graph)
got = port.run(chip, frames, on="lava-cpu")
print(port.compare(trace, got))

# %% [markdown]
# ## On a chip
#
# A chip does not have the kind until its file says so, and the check says that by name.

# %%
check(chip, load_chip("loihi2"))

# %% [markdown]
# [Add a neuron](../../docs/adding_a_neuron.md) has the rest: names in packages, and kinds that come with
# neuroport.
