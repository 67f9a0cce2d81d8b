"""What the tutorials' networks are fed here: real pictures, digits and spikes at hand.

Every function gives x (N, *shape, T) and what the tutorial's loss asks for.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from torch import Tensor

from neuroport.data.digits import all_digits
from neuroport.data.events import Binning
from neuroport.data.saccades import SENSOR, simulate
from neuroport.data.samples import taking_turns
from tests.golden.shipped import net

Pair = tuple[Tensor, Tensor]
MILLISECOND = 1000


def oxford(samples: int, steps: int) -> Pair:
    """The tutorial's input spikes, which lava-dl's wheel ships as ``gts/dense/in.npy``.

    The first sample is as it is; of the others neurons are moved on by 40. The target, a picture of
    a building, is not in the wheel: spikes of 200 neurons of ``gts/dense/out.npy`` stand for it.
    """
    whole = np.load(net("gts/dense/in.npy"))[:, :steps]
    target = np.load(net("gts/dense/out.npy"))[:200, :steps]
    x = np.stack([np.roll(whole, 40 * number, 0) for number in range(samples)])
    return _tensor(x), _tensor(np.stack([target] * samples))


def saccades(samples: int, steps: int, flat: bool) -> Pair:
    """Events SIMULATED from real digits, a step per millisecond, and the classes."""
    images, labels = all_digits()
    chosen = taking_turns(labels, 0)[:samples]
    binning = Binning(steps, "time", MILLISECOND, (SENSOR, SENSOR), (SENSOR, SENSOR))
    events = simulate(images[chosen], chosen, 0)
    counts = np.stack([np.minimum(binning.frames(each), 1) for each in events])
    x = _tensor(np.moveaxis(counts, 1, -1))
    return x.reshape(samples, -1, steps) if flat else x, torch.from_numpy(labels[chosen])


def digits(samples: int, steps: int) -> Pair:
    """Real digits from -1 to 1, the same at every step, and their classes."""
    images, labels = all_digits()
    chosen = taking_turns(labels, 0)[:samples]
    x = _tensor(images[chosen].reshape(samples, -1, 1) / 127.5 - 1)
    return x.expand(-1, -1, steps).contiguous(), torch.from_numpy(labels[chosen])


def drive(picture: str, samples: int, steps: int) -> Pair:
    """The view from a car that the wheel ships, panned by one pixel a step; angles are made up."""
    image = np.load(net(picture))
    image = image.reshape(image.shape[:3]).T / 64.0  # (C, H, W)
    if picture.startswith("gts/pilotnet_lif"):
        image = (image * 64 - 36) / 40  # the file has what its input makes of the pixels
    views = [
        [np.roll(image, 16 * number + (-1) ** number * step, 2) for step in range(steps)]
        for number in range(samples)
    ]
    x = _tensor(np.moveaxis(np.array(views), 1, -1))
    angles = torch.linspace(-0.5, 0.5, samples).reshape(-1, 1).expand(samples, steps)
    return x, angles


def xor(steps: int) -> Pair:
    """Both bits held, and their exclusive or."""
    rows = torch.tensor(list(product((0.0, 1.0), repeat=2)))
    label = (rows[:, :1] != rows[:, 1:]).float()
    held = (-1, -1, steps)
    return rows[..., None].expand(*held).clone(), label[..., None].expand(*held).clone()


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
