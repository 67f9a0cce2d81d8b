# %% [markdown]
# # A SpikingJelly network
#
# You have a network of `spikingjelly.activation_based`. neuroport takes it as it is, makes it integers, trains
# those on, and runs them on Lava. SpikingJelly 2 needs Python 3.11 or newer; this notebook was executed with
# the versions that the first cell prints.

# %%
import platform

import matplotlib.pyplot as plt
import numpy as np
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn
from torch.nn import functional as F

import neuroport as port
from neuroport import plot
from neuroport.data.loading import load_data

print("Python", platform.python_version())

# %% [markdown]
# ## The network, in SpikingJelly
#
# Two SEW blocks: what the branch sends is added to what the shortcut sends.

# %%
STEPS = 4


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = layer.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = layer.BatchNorm2d(channels)
        self.sn = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan())

    def forward(self, x):
        return x + self.sn(self.bn(self.conv(x)))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            layer.Conv2d(1, 8, 3, stride=2, padding=1, bias=False),
            layer.BatchNorm2d(8),
            neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan()),
            Block(8),
            Block(8),
            layer.AvgPool2d(2),
            layer.Flatten(),
            layer.Linear(8 * 7 * 7, 10),
        )

    def forward(self, x):
        return self.layers(x).mean(0)  # a number for each class, over all steps


torch.manual_seed(0)
net = Network()
functional.set_step_mode(net, "m")

digits = load_data(port.load_recipe("demo").data)
pictures = torch.from_numpy(digits.train.images)
labels = torch.from_numpy(digits.train.labels)
frames = np.repeat(digits.test.images[None, :100], STEPS, 0)  # integers (T, N, C, H, W)
truth = digits.test.labels[:100]


def train(module, rate, samples, answer, scale=None, bound=None):
    optimizer = torch.optim.Adam(module.parameters(), rate)
    for part in torch.arange(samples).split(50):
        functional.reset_net(module)
        x = pictures[part].expand(STEPS, -1, -1, -1, -1)
        loss = F.cross_entropy(answer(module(x if scale is None else x * scale)), labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if bound is not None:
            bound()
    return f"loss {loss.item():.2f}"


print(train(net, 5e-3, 2000, lambda logits: logits, scale=1 / 255))

# %% [markdown]
# ## Take it over
#
# neuroport runs `forward` and follows it. `scale` says what a pixel of 1 means: SpikingJelly saw 1/255. In real
# numbers the result must equal SpikingJelly's own, but for the last bits of float32.

# %%
functional.reset_net(net)
net.eval()
made = port.import_torch(net, frames, scale=1 / 255)
functional.reset_net(net)
with torch.no_grad():
    own = net(torch.from_numpy(frames).float() / 255).numpy()
ours = made.real(frames)["output"][-1] / STEPS  # the readout adds up the steps, as chips do
print("largest difference:", f"{np.abs(ours - own).max():.1e}")
print(made.cost)

# %% [markdown]
# ## Train the integers on
#
# What quantization cost is regained by training the integers themselves.

# %%
tuned = made.trainable()
print(train(tuned, 1e-3, 1000, lambda potentials: potentials[-1], bound=tuned.bound))
chip = port.lower(tuned.graph(), target="lava-cpu")
print("wrote", port.export(chip, "digits.net"))

# %% [markdown]
# ## Run it on Lava
#
# `want` is the torch module, `got` is Lava, from the file.

# %%
few = frames[:, :5]
want, got = port.run(tuned, few), port.run("digits.net", few, on="lava-cpu")
print(port.compare(want, got))
every = port.run("digits.net", frames, on="fast")
figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
plot.activity(got, ax=axes[0])
plot.confusion(every, truth, ax=axes[1])

# %% [markdown]
# [You have a SpikingJelly network](../../docs/spikingjelly.md) lists what is understood.
