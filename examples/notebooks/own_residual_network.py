# %% [markdown]
# # A residual network of your own
#
# You write a `forward` of neuroport's layers; neuroport follows it, so nothing is declared twice. This network
# has one block whose shortcut carries *membrane currents*, as in MS-ResNet. We train it on some digits, first
# in real numbers, then in integers, and run it on Lava.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import neuroport as port
from neuroport import plot
from neuroport.data.loading import load_data
from neuroport.nets.neuron import Lif
from neuroport.nets.synapse import Conv, GradedConv, Readout
from neuroport.quantization.scales import freeze_scales

STEPS = 4


def neuron():
    return Lif(threshold=0.5, voltage_decay=0.75)


class Network(nn.Module):
    """A stem, one residual block, a convolution with a stride, and a classifier."""

    def __init__(self, channels=16, classes=10):
        super().__init__()
        self.stem = GradedConv(1, channels, 3, stride=2, padding=1, pixels=True)
        self.neuron1, self.neuron2, self.neuron3, self.neuron4 = (neuron() for _ in range(4))
        self.conv1 = Conv(channels, channels, 3, padding=1)
        self.conv2 = Conv(channels, channels, 3, padding=1)
        self.conv3 = Conv(channels, 2 * channels, 3, stride=2, padding=1)
        self.readout = Readout(2 * channels, classes)

    def forward(self, frames):
        current = self.stem(frames)
        branch = self.conv2(self.neuron2(self.conv1(self.neuron1(current))))
        together = self.neuron3(current + branch)  # two currents meet: the shortcut
        return self.readout(self.neuron4(self.conv3(together)))


# %% [markdown]
# ## Train it in real numbers

# %%
torch.manual_seed(0)
digits = load_data(port.load_recipe("demo").data)  # real digits that come with a package
pictures = torch.from_numpy(digits.train.images).float()
classes = torch.from_numpy(digits.train.labels)
test = np.repeat(digits.test.images[None, :200], STEPS, 0)  # frames (T, N, C, H, W)
truth = digits.test.labels[:200]


def train(net, rate, epochs, batch=50):
    optimizer = torch.optim.AdamW(net.parameters(), rate)
    steps = epochs * len(classes) // batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    net.train()
    for _ in range(epochs):
        for part in torch.randperm(len(classes)).split(batch):
            frames = pictures[part].expand(STEPS, -1, -1, -1, -1)
            loss = F.cross_entropy(net(frames), classes[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        right = net(torch.from_numpy(test).float()).argmax(1).numpy() == truth
    return f"{100 * right.mean():.1f} % of {len(truth)} held-out digits"


net = Network()
print(train(net, 1.5e-2, epochs=4))

# %% [markdown]
# ## Train it on in integers
#
# From here on the forward pass *is* the integer network, with gradients that pass the rounding. What is
# trained is what runs.

# %%
freeze_scales(net, torch.from_numpy(test[:, :1]).float())
print(train(net, 1e-3, epochs=1))
graph = port.quantize(net, test)
graph

# %% [markdown]
# ## What became of the weights
#
# Weights are even integers of 8 bits; thresholds are as many units of the current as the grid resolves.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
plot.weights(graph, "conv1", ax=axes[0])
plot.thresholds(graph, ax=axes[1])

# %% [markdown]
# ## Lower it, run it, compare it
#
# On Lava every synapse takes a step, so the shortcut would arrive before the branch. `lower` makes it wait.

# %%
chip = port.lower(graph, target="lava-cpu")
port.export(chip, "own.net")
few = test[:, :10]
want = port.run(net, few)  # the torch module
got = port.run("own.net", few, on="lava-cpu")  # Lava's own processes, from the file
print(port.compare(want, got))

# %% [markdown]
# ## See it work
#
# One digit on its way: what the neurons behind the sum of block and shortcut send, step by step, and one
# neuron's potential.

# %%
plot.maps(got, "neuron3")

# %%
name = "neuron3"
place = tuple(map(int, np.argwhere(got[name][:, 0].sum(0) == 2)[0]))  # one that fires twice
plot.potential(chip, got, few, name, place)
plt.show()
plot.activity(got)

# %% [markdown]
# [What a forward may say](../../docs/forward.md) lists what can be followed; anything else is refused, with
# the line.
