# %% [markdown]
# # From SLAYER to Lava
#
# You have a network of lava-dl's SLAYER blocks. neuroport takes it as it is, integers included, and runs it
# on Lava's processes with the spikes that SLAYER computes. This notebook adds a *membrane shortcut* around
# two blocks, which lava-dl's own exporter would drop without a word.

# %%
import lava.lib.dl.slayer as slayer
import matplotlib.pyplot as plt
import torch
from torch import nn

import neuroport as port
from neuroport import plot
from neuroport.capture import slayer as capture
from neuroport.nets.slayer import MembraneShortcut

NEURON = {"threshold": 1.0, "current_decay": 1.0, "voltage_decay": 0.25}


def conv(inner, outer, stride=1):
    return slayer.block.cuba.Conv(
        NEURON, inner, outer, 3, stride, padding=1, weight_scale=3, delay_shift=False
    )


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                MembraneShortcut(conv(1, 6, 2), conv(6, 6), conv(6, 6)),
                slayer.block.cuba.Flatten(),
                slayer.block.cuba.Dense(NEURON, 6 * 5 * 5, 4, weight_scale=3, delay_shift=False),
            ]
        )

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


# %% [markdown]
# ## Train it in SLAYER
#
# The task: a bright quarter of a noisy picture, one of four. SLAYER's tensors are (N, C, H, W, T), and its
# network has to run once before its parameters are used.

# %%
torch.manual_seed(0)
labels = torch.arange(64) % 4
x = (torch.rand(64, 1, 10, 10, 12) < 0.05).float()
for sample, label in enumerate(labels.tolist()):
    row, column = 5 * (label // 2), 5 * (label % 2)
    bright = (torch.rand(5, 5, 12) < 0.5).float()
    x[sample, 0, row : row + 5, column : column + 5] = bright

net = Network()
net(x)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
loss_of = slayer.loss.SpikeRate(true_rate=0.6, false_rate=0.1, reduction="sum")
losses = []
for _ in range(40):
    optimizer.zero_grad()
    loss = loss_of(net(x), labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
net.eval()
guessed = net(x).sum(-1).argmax(1)
print(f"loss {losses[0]:.1f} -> {losses[-1]:.1f}; {(guessed == labels).sum()} of 64 right")

# %% [markdown]
# ## Take it over
#
# SLAYER quantizes its own weights, so nothing is chosen here. `lower` makes the shortcut wait for the two
# blocks that it bypasses.

# %%
frames = capture.frames(net, x[:8])  # (T, N, C, H, W), integers
graph = port.quantize(net, frames)
chip = port.lower(graph)
port.export(chip, "slayer.net")
chip

# %% [markdown]
# ## Run it on Lava and compare
#
# `want` is SLAYER itself, `got` is Lava's fixed-point simulation of the exported file. Every spike is
# compared; there is no tolerance.

# %%
want = port.run(net, frames)
got = port.run("slayer.net", frames, on="lava-cpu")
print(port.compare(want, got))

# %% [markdown]
# ## Look at it
#
# Left, the neurons behind the shortcut while one picture is shown. Right, the classes that Lava gives.

# %%
spiking = [name for name, kind in got.kinds.items() if kind == "lif"]
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
plot.raster(got, spiking[2], ax=axes[0])
plot.confusion(got, labels[:8], ax=axes[1])

# %% [markdown]
# [Networks of lava-dl](../../docs/slayer.md) lists every block and option of SLAYER and what becomes of it.
