# %% [markdown]
# # Reading a divergence
#
# Two runs of a network should give the same spikes. When they do not, neuroport says where they part, and
# why. Here we damage one weight of a trained network on purpose and look for it as if we did not know.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

import neuroport as port
from neuroport import plot
from neuroport.graph.graph import Graph

model = "../../models/ms_resnet8_mnist"
graph = port.read(f"{model}/network.net")
frames = np.load(f"{model}/frames.npy")[:, :4]  # four digits: (T, N, C, H, W)
labels = np.load(f"{model}/labels.npy")[:4]
graph

# %% [markdown]
# ## One weight
#
# The largest weight of one convolution changes its sign. Such a fault happens: a file is written by another
# tool, or a sign is lost when weights are packed.

# %%
node = graph["blocks.1.conv1"]
weight = node.weight.copy()
place = np.unravel_index(np.abs(weight).argmax(), weight.shape)
weight[place] *= -1
damaged = Graph(
    [replace(each, weight=weight) if each.name == node.name else each for each in graph.nodes],
    graph.steps,
    graph.interval,
)
print(
    f"weight {tuple(map(int, place))} of {node.name}: {node.weight[place]} became {weight[place]}"
)

# %% [markdown]
# ## The answer may still be right
#
# Accuracy does not show the fault. That is why neuroport compares every spike.

# %%
want, got = port.run(graph, frames), port.run(damaged, frames)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
plot.confusion(want, labels, ax=axes[0])
plot.confusion(got, labels, ax=axes[1])

# %% [markdown]
# ## Where the runs part
#
# `compare` looks at every population, step, sample and neuron. The first message that differs is the one to
# look at: all later ones may only follow from it.

# %%
result = port.compare(want, got)
first = result.first
print(f"{first.population}, step {first.step}, sample {first.sample}, neuron {first.neuron}")
plot.divergence(want, got)

# %% [markdown]
# The square marks the neuron. Now its potential in both runs: the current is another one, although the
# threshold is the same. So the fault lies before this neuron, not in it.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
at = (first.population, first.neuron, first.sample)
for ax, network, trace, what in zip(axes, (graph, damaged), (want, got), ("good", "damaged")):
    plot.potential(network, trace, frames, *at, ax=ax).set_xlabel(f"step, {what}")

# %% [markdown]
# ## Why
#
# With the networks and the frames, `compare` also says what the neuron received, and what is different.

# %%
print(port.compare(want, got, graph=graph, other=damaged, frames=frames))

# %% [markdown]
# The weight is found. `neuroport compare good.net damaged.net --frames frames.npy` does the same on the
# command line. [Spikes differ](../../docs/howto/spikes_differ.md) is about engines that differ on one
# network.
