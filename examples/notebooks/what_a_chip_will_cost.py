# %% [markdown]
# # What a chip will cost
#
# Before a board is booked, you want to know whether a network fits, how many cores it takes, and what it
# does there. **Nothing here was run on hardware**: cores are estimates by formulas that were fitted to
# published tables, messages are counted exactly on a run.

# %%
import matplotlib.pyplot as plt
import numpy as np

import neuroport as port
from neuroport import plot
from neuroport.targets.target import load_chip
from neuroport.targets.verdict import check

model = "../../models/ms_resnet8_mnist"
frames = np.load(f"{model}/frames.npy")[:, :4]  # four digits: (T, N, C, H, W)
graph = port.quantize(port.load(model), frames)  # a trained network, as integers
graph

# %% [markdown]
# ## Lower it for a board
#
# On Loihi every synapse takes a step, so a shortcut has to wait for the branch it bypasses. There is more
# than one way to make it wait. `lower` takes the one with the fewest cores and keeps every spike.

# %%
board = "kapoho-point"  # 8 chips
chip = port.lower(graph, board)
print(port.compare(port.run(graph, frames), port.run(chip, frames)))

# %% [markdown]
# ## Which rules hold
#
# The check lists every rule of the board, what is broken, and what nobody has proven on hardware.

# %%
check(chip, load_chip(board))

# %% [markdown]
# ## Cores
#
# A core has room for so many neurons, synapses and fan-in words. The colour says which of these binds:
# where neurons bind, fewer channels or smaller maps help; where synapses bind, smaller kernels do.

# %%
trace = port.run(chip, frames)
figure, axes = plt.subplots(1, 2, figsize=(12, 5), constrained_layout=True)
plot.cores(chip, board, ax=axes[0])
plot.traffic(chip, trace, frames, board, ax=axes[1])

# %% [markdown]
# Right: the messages that these cores send to other cores for one digit. Relays, which carry the
# shortcuts, send values at most steps; neurons only send spikes.

# %% [markdown]
# ## Room in the integers
#
# A wide range costs nothing on a chip, but one that overflows would change spikes. The grey bars are what the
# graph proves for *any* frames; they stay within 100 %. Blue is what these digits use of it.

# %%
figure, axes = plt.subplots(figsize=(8, 5), constrained_layout=True)
plot.ranges(chip, trace, frames, ax=axes)

# %% [markdown]
# ## Work and time
#
# Synaptic operations are counted. Time is a lower bound from constants that are not all published; energy on
# Loihi 2 is not estimated at all, because no table of it is public. [Energy and
# time](../../docs/energy.md) says where each number comes from.

# %%
port.energy(chip, trace, frames, target="loihi2")
