"""Random SLAYER networks: SLAYER on the CPU and the reference engine send the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import neuroport as port
from neuroport.capture import slayer as capture

torch = pytest.importorskip("torch")
slayer = pytest.importorskip("lava.lib.dl.slayer")

from tests.helpers import slayer_networks as networks  # noqa: E402


def random_chain(rng: np.random.Generator) -> tuple[Any, Any]:
    """Blocks of CUBA and ALIF neurons with random sizes and options, and their input."""
    pick = rng.choice
    channels, height, width = (int(n) for n in rng.integers([1, 6, 6], [4, 17, 17]))
    x = networks.spikes((channels, height, width), float(rng.uniform(0.1, 0.5)))
    blocks: list[Any] = []
    shape = x.shape[1:4]
    for _ in range(int(rng.integers(1, 5))):
        blocks.append(_random_maps(rng, shape))
        shape = blocks[-1].eval()(torch.zeros(1, *shape, 2)).shape[1:4]
    blocks.append(slayer.block.cuba.Flatten())
    count = int(np.prod(shape))
    for _ in range(int(rng.integers(0, 3))):
        size = int(rng.integers(2, 20))
        kind = pick(["Dense", "Dense", "Recurrent"])
        own = _options(rng, recurrent=kind == "Recurrent")
        blocks.append(_block(rng, str(kind), count, size, **own))
        count = size
    last = pick(["none", "average", "current"])
    if last == "average":
        blocks.append(slayer.block.cuba.Average(count))
    elif last == "current":
        blocks.append(networks.cuba("Affine", count, 3, dynamics=False))
    return networks.Chain(*blocks), x


def _block(rng: np.random.Generator, kind: str, *sizes: Any, **own: Any) -> Any:
    if rng.random() < 0.6:
        return networks.cuba(kind, *sizes, **own)
    adapts = {
        "threshold_step": float(rng.choice([0, 0.1, 1, -0.05])),
        "threshold_decay": float(rng.choice([0, 0.01, 0.3, 1])),
        "refractory_decay": float(rng.choice([0.05, 0.3, 1])),
    }
    return networks.alif(kind, *sizes, **{**own, "neuron": {**own["neuron"], **adapts}})


def _random_maps(rng: np.random.Generator, shape: Any) -> Any:
    channels = int(shape[0])
    own = _options(rng)
    kind = rng.choice(["Conv", "Conv", "ConvT", "Pool", "Unpool"])
    out = int(rng.integers(1, 5))
    if kind == "Pool" and min(shape[1:]) >= 4:
        return _block(rng, "Pool", 2, **own)
    if kind == "Unpool" and max(shape[1:]) <= 8:
        return _block(rng, "Unpool", 2, **own)
    if kind == "ConvT" and max(shape[1:]) <= 8:
        geometry = {"stride": _pair(rng, 1, 3), "padding": _pair(rng, 0, 2)}
        return _block(rng, "ConvT", channels, out, (2, 3), **geometry, **own)
    groups = channels if rng.random() < 0.3 else 1
    kernel = tuple(min(int(n), k) for n, k in zip(shape[1:], _pair(rng, 1, 4), strict=True))
    geometry = {"padding": _pair(rng, 0, 3), "groups": groups, "stride": _pair(rng, 1, 3)}
    if kernel == (3, 3) and min(shape[1:]) > 5:
        geometry["dilation"] = _pair(rng, 1, 3)
    return _block(rng, "Conv", channels, out * groups, kernel, **geometry, **own)


def _pair(rng: np.random.Generator, low: int, high: int) -> tuple[int, int]:
    return int(rng.integers(low, high)), int(rng.integers(low, high))


def _options(rng: np.random.Generator, recurrent: bool = False) -> dict[str, Any]:
    neuron: dict[str, Any] = {
        "threshold": float(rng.uniform(0.2, 2)),
        "current_decay": float(rng.choice([1, 1, 0.25, 0.7, 0.01])),
        "voltage_decay": float(rng.choice([0, 0.03, 0.5])),
        "scale": 64 if recurrent else int(rng.choice([64, 64, 32, 128])),
    }
    if rng.random() < 0.3 and not (recurrent and neuron["current_decay"] < 1):
        neuron.update(networks.MEAN)
    return {
        "neuron": neuron,
        "weight_scale": float(rng.uniform(1, 6)),
        "weight_norm": bool(rng.random() < 0.2),
        "delay": bool(rng.random() < 0.4),
        "delay_shift": bool(rng.random() < 0.6),
    }


@pytest.mark.parametrize("seed", range(16))
@torch.no_grad()  # type: ignore[misc]
def test_random_slayer_network_is_its_graph(seed: int) -> None:
    torch.manual_seed(seed)
    net, x = random_chain(np.random.default_rng(seed))
    networks.ready(net, x)
    frames = capture.frames(net, x)
    for keep in (False, True):
        graph = capture.integer_graph(net, frames, keep_shift=keep)
        want = capture.record(net, x, keep_shift=keep)
        outcome = port.compare(want, port.run(graph, frames))
        assert outcome.differing == 0, str(outcome)
        assert not outcome.only_want
        assert not outcome.only_got
